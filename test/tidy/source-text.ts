/** What a character of a TypeScript file belongs to. */
type Region = "code" | "comment" | "string";

/** A file's text with everything of the other regions blanked, so that lines and columns stay. */
export interface SourceText {
  readonly code: string;
  readonly comments: string;
  readonly strings: string;
}

interface Scanner {
  readonly text: string;
  readonly regions: Region[];
  at: number;
}

/** Splits a TypeScript file into code, comments and the insides of strings. Good for code a formatter has seen. */
export function splitSource(text: string): SourceText {
  const scanner: Scanner = { text, regions: new Array<Region>(text.length).fill("code"), at: 0 };
  while (scanner.at < text.length) scanCode(scanner, null);
  const only = (region: Region) => {
    let kept = "";
    for (let index = 0; index < text.length; index += 1) {
      const character = text[index]!;
      kept += character === "\n" || scanner.regions[index] === region ? character : " ";
    }
    return kept;
  };
  return { code: only("code"), comments: only("comment"), strings: only("string") };
}

/** Scans code until `closer` at depth 0 (null: to the end); leaves `at` behind it. */
function scanCode(scanner: Scanner, closer: "}" | null): void {
  let depth = 0;
  while (scanner.at < scanner.text.length) {
    const two = scanner.text.slice(scanner.at, scanner.at + 2);
    const one = two[0]!;
    if (two === "//") mark(scanner, endOf(scanner, "\n"), "comment");
    else if (two === "/*") mark(scanner, endOf(scanner, "*/", scanner.at + 2), "comment");
    else if (one === '"' || one === "'") scanQuoted(scanner, one);
    else if (one === "`") scanTemplate(scanner);
    else if (one === "/" && startsPattern(scanner)) scanPattern(scanner);
    else {
      if (one === "{") depth += 1;
      if (one === "}" && closer === "}" && depth === 0) {
        scanner.at += 1;
        return;
      }
      if (one === "}") depth -= 1;
      scanner.at += 1;
    }
  }
}

function mark(scanner: Scanner, end: number, region: Region): void {
  scanner.regions.fill(region, scanner.at, end);
  scanner.at = end;
}

function endOf(scanner: Scanner, ending: string, from = scanner.at): number {
  const found = scanner.text.indexOf(ending, from);
  if (found < 0) return scanner.text.length;
  return ending === "\n" ? found : found + ending.length;
}

function scanQuoted(scanner: Scanner, quote: string): void {
  scanner.at += 1;
  let end = scanner.at;
  while (end < scanner.text.length && scanner.text[end] !== quote && scanner.text[end] !== "\n") {
    end += scanner.text[end] === "\\" ? 2 : 1;
  }
  mark(scanner, end, "string");
  scanner.at += 1;
}

function scanTemplate(scanner: Scanner): void {
  scanner.at += 1;
  while (scanner.at < scanner.text.length && scanner.text[scanner.at] !== "`") {
    if (scanner.text.startsWith("${", scanner.at)) {
      scanner.at += 2;
      scanCode(scanner, "}");
    } else {
      mark(scanner, scanner.at + (scanner.text[scanner.at] === "\\" ? 2 : 1), "string");
    }
  }
  scanner.at += 1;
}

/** A slash opens a regular expression where a value may begin, and divides where one has ended. */
function startsPattern(scanner: Scanner): boolean {
  const before = scanner.text.slice(0, scanner.at).trimEnd();
  return /(^|[(,=:[!&|?{};+>]|\breturn|\bcase)$/.test(before.slice(-8));
}

function scanPattern(scanner: Scanner): void {
  scanner.at += 1;
  let end = scanner.at;
  let isInClass = false;
  while (end < scanner.text.length && scanner.text[end] !== "\n") {
    const character = scanner.text[end];
    if (character === "\\") end += 1;
    else if (character === "[") isInClass = true;
    else if (character === "]") isInClass = false;
    else if (character === "/" && !isInClass) break;
    end += 1;
  }
  mark(scanner, end, "string");
  scanner.at += 1;
}
