import { type Finding, findAll, lineAt, type Rule, type TidyFile } from "./finding.ts";
import { splitSource } from "./source-text.ts";

const fileLinesMax = 400;
const functionLinesMax = 70;

const isTypeScript = (path: string) => path.endsWith(".ts");
/** Tests, and what only tests import. */
const isTest = (path: string) => /(?:\.test|-for-test)\.ts$|\/test-[^/]*\.ts$/.test(path);
const ships = (file: TidyFile) =>
  isTypeScript(file.path) && /^(src|sim)\//.test(file.path) && !isTest(file.path);

/** Time and randomness come in as ports; only src/base touches the machine's. */
export const hostClock: Rule = (file) => {
  // What a person starts by hand tells them how long it took.
  if (!ships(file) || /^src\/base\/|^sim\/main\.ts$/.test(file.path)) return [];
  const pattern =
    /\b(?:Date\.now|Math\.random|performance\.now)\b|(?<![.\w])(?:setTimeout|setInterval)\b|\bnew Date\(\)/g;
  return findAll(
    file.path,
    splitSource(file.text).code,
    pattern,
    (match) => `${match} lives in src/base only; take a Clock or a Prng`,
  );
};

/** Offsets reach 2^53; bit operators cut them to 32 bits: `2 << 30` is negative. */
export const bitsOnOffsets: Rule = (file) => {
  if (!ships(file) || file.path === "src/base/prng.ts") return [];
  const { code } = splitSource(file.text);
  const quantity = String.raw`[\w.]*(?:bytes|offset|length|size|position)\w*`;
  const shift = String.raw`(?:<<|>>>?|\|(?!\|))`;
  const patterns = [
    /(?<![|&])\|\s*0(?![xob\w])|>>>\s*0(?![xob\w])|~~|\b[12]\s*<<\s*(?:[3-9]\d|\d{3,})/gi,
    new RegExp(String.raw`\b${quantity}\)?\s*${shift}\s*[\w(]`, "gi"),
    new RegExp(String.raw`[\w)]\s*${shift}\s*\(?${quantity}`, "gi"),
  ];
  const isType = (line: number) =>
    /^\s*(?:export )?(?:type\b|\|)|:[^=]*\|/.test(code.split("\n")[line - 1]!);
  return patterns
    .flatMap((pattern) =>
      findAll(file.path, code, pattern, (match) => `bit operator on a quantity: ${match.trim()}`),
    )
    .filter((finding) => !isType(finding.line));
};

/** The type checker is not silenced. */
export const silencedTypes: Rule = (file) => {
  if (!isTypeScript(file.path)) return [];
  const { code, comments } = splitSource(file.text);
  return [
    ...findAll(file.path, code, /\bas any\b|<any>/g, (match) => `${match} silences the checker`),
    ...findAll(file.path, comments, /@ts-(?:ignore|nocheck)/g, (match) => `${match} is not used`),
  ];
};

/** What is left to do is done or written down where people look, never left in the code. */
export const leftovers: Rule = (file) => {
  const pattern = new RegExp(String.raw`\b(?:${["FIX", "ME"].join("")}|TO${"DO"}|X{3})\b`, "g");
  return findAll(file.path, file.text, pattern, (match) => `${match} is left over`);
};

/** Only commands talk to the terminal. */
export const consoleUse: Rule = (file) => {
  if (!isTypeScript(file.path) || isTest(file.path)) return [];
  if (/^(?:src\/cli|demo|bench|tools|test|sim)\//.test(file.path)) return [];
  const { code } = splitSource(file.text);
  return findAll(
    file.path,
    code,
    /(?<![.\w])console\.(?:log|error|warn|info|debug|trace|dir|table)\b/g,
    (match) => `${match}: only commands print`,
  );
};

/** A file is one concept that fits a mind. */
export const fileLength: Rule = (file) => {
  if (!isTypeScript(file.path)) return [];
  const lines = file.text.trimEnd().split("\n").length;
  if (lines <= fileLinesMax) return [];
  return [{ path: file.path, line: lines, message: `${lines} lines, more than ${fileLinesMax}` }];
};

/**
 * A function fits a screen, the functions within it left out: a constructor of closures is as long as they are. A suite, which
 * only holds tests, is no function.
 */
export const functionLength: Rule = (file) => {
  if (!isTypeScript(file.path)) return [];
  const { code } = splitSource(file.text);
  const lines = code.split("\n");
  const bodies = functionBodies(code).map(({ start, end }) => {
    return { first: lineAt(code, start), last: lineAt(code, end) };
  });
  return bodies.flatMap(({ first, last }) => {
    const isSuite = lines
      .slice(first - 1, last)
      .some((line) => /^\s*(?:describe|test|it)(?:\.\w+)*\(/.test(line));
    const within = bodies.filter((inner) => inner.first > first && inner.last < last);
    const outermost = within.filter(
      (inner) => !within.some((outer) => outer.first < inner.first && outer.last > inner.last),
    );
    const innerLines = outermost.reduce((sum, inner) => sum + inner.last - inner.first, 0);
    const length = last - first + 1 - innerLines;
    if (length <= functionLinesMax || isSuite) return [];
    const message = `function of ${length} lines, more than ${functionLinesMax}`;
    return [{ path: file.path, line: first, message }];
  });
};

/** Where functions begin (at their parameters) and end (at their brace), as indexes into the code. */
function functionBodies(code: string): { start: number; end: number }[] {
  const bodies: { start: number; end: number }[] = [];
  const open: (number | null)[] = [];
  const parentheses: number[] = [];
  let closed = { start: 0, end: -1 };
  for (let at = 0; at < code.length; at += 1) {
    const character = code[at];
    if (character === "(") parentheses.push(at);
    if (character === ")") closed = { start: parentheses.pop() ?? 0, end: at };
    if (character === "{") open.push(startsBody(code, closed, at) ? closed.start : null);
    if (character === "}") {
      const start = open.pop() ?? null;
      if (start !== null) bodies.push({ start, end: at });
    }
  }
  return bodies;
}

/** Whether the brace at `at` opens a function whose parameters may be the last closed parentheses. */
function startsBody(code: string, closed: { start: number; end: number }, at: number): boolean {
  const between = code.slice(closed.end + 1, at);
  if (closed.end < 0 || !/^\s*(?::[^;{}]*)?(?:=>)?\s*$/.test(between)) return false;
  const keyword = /(\w+)\s*$/.exec(code.slice(Math.max(0, closed.start - 40), closed.start))?.[1];
  return !["if", "for", "while", "switch", "catch", "with", "await"].includes(keyword ?? "");
}

const exported =
  /^export (?:declare |abstract |async )*(?:function\*?|const|class|interface|type) (\w+)/;
/** Tells all there is to tell: a list's members, a schema's output, the options of a function that is described. */
const speaksForItself =
  /\(typeof \w+\)\[number\];|z\.(?:infer|output)<|^export interface \w+Options\b/;

/** Every exported thing says in a sentence what it is. Neighbouring one-line exports may share one. */
export const docComments: Rule = (file) => {
  if (!ships(file) || !file.path.startsWith("src/")) return [];
  const lines = file.text.split("\n");
  return lines.flatMap((line, index) => {
    const name = exported.exec(line)?.[1];
    if (name === undefined || speaksForItself.test(line)) return [];
    let above = index - 1;
    while (/^export .*;$/.test(lines[above] ?? "")) above -= 1;
    if (/\*\/\s*$|^\/\//.test(lines[above] ?? "")) return [];
    // Further signatures of one function share the first one's comment.
    if (lines.slice(0, index).some((before) => before.includes(`function ${name}(`))) return [];
    return [{ path: file.path, line: index + 1, message: `${name} is exported without a comment` }];
  });
};

/** Names are in kebab case and say what is inside. */
export const fileNames: Rule = (file) => {
  if (!isTypeScript(file.path)) return [];
  const name = file.path.split("/").at(-1)!;
  const findings: Finding[] = [];
  if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.(?:test|real|config|test-d))*\.ts$/.test(name)) {
    findings.push({ path: file.path, line: 1, message: "file names are in kebab case" });
  }
  if (/(?:^|\/)(?:index|utils?|common|helpers?|misc)(?:\.ts|\/)/.test(file.path)) {
    findings.push({ path: file.path, line: 1, message: "the name says nothing about the content" });
  }
  return findings;
};
