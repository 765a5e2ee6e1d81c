import { type Finding, findAll, type Rule } from "./finding.ts";
import { splitSource } from "./source-text.ts";

const fileSizeMax = 256 * 1024;

/** The markdown outside fenced and inline code, lines kept. */
export function proseOf(markdown: string): string {
  const blank = (text: string) => text.replace(/[^\n]/g, " ");
  return markdown
    .replace(/^(\s*)(`{3,}|~{3,})[^\n]*\n[\s\S]*?^\s*\2[^\n]*$/gm, blank)
    .replace(/`[^`\n]+`/g, blank);
}

/** A page has one title, and it comes first. */
export const oneTitle: Rule = (file) => {
  if (!file.path.endsWith(".md")) return [];
  const titles = [...proseOf(file.text).matchAll(/^# .+$/gm)];
  if (titles.length === 1) return [];
  return [{ path: file.path, line: 1, message: `${titles.length} titles instead of one` }];
};

const wordsWithBetterOnes: readonly (readonly [RegExp, string])[] = [
  [/\bdump(?:s|ed|ing)?\b/gi, "delta, export or copy"],
  [/\bblobs?\b/gi, "file, chunk or payload"],
  [/\bmasters?\b|\bslaves?\b/gi, "protected and recovery site"],
  [/\breplicas?\b/gi, "point, view or vault"],
  [/\bjob-thing\b/gi, "job"],
];

// Pages that list the words in order to say what to use instead.
const wordLists = new Set(["docs/GLOSSARY.md", "CONTRIBUTING.md"]);

/** One word for one thing, in pages and in what commands print. */
export const glossaryWords: Rule = (file) => {
  if (wordLists.has(file.path)) return [];
  const isPage = file.path.endsWith(".md");
  const speaks = /^(?:src\/(?:cli|daemon|control|base\/fault)|demo)\b.*\.ts$/.test(file.path);
  if (!isPage && (!speaks || file.path.includes(".test."))) return [];
  const text = isPage ? proseOf(file.text) : splitSource(file.text).strings;
  return wordsWithBetterOnes.flatMap(([pattern, better]) =>
    findAll(file.path, text, pattern, (match) => `"${match}": say ${better}`),
  );
};

/** Has what QEMU documents, key by key, in QEMU's words. */
const qemuTable = "src/qemu/floor-5-2.ts";

/** Code names things by the same words; QEMU's own command names are strings, not names. */
export const glossaryNames: Rule = (file) => {
  if (!/^(?:src|sim)\/.*\.ts$/.test(file.path) || file.path === qemuTable) return [];
  const pattern = /\b\w*(?:backup|slave|replicas?\b|Replica(?!t)|blob(?!s?\()|Blob)\w*\b/g;
  return findAll(
    file.path,
    splitSource(file.text).code,
    pattern,
    (match) => `${match}: a more exact word is in docs/GLOSSARY.md`,
  );
};

/** The tree is text that people read; what can be made is made. */
export const fileSize: Rule = (file) => {
  const sizeBytes = Buffer.byteLength(file.text);
  if (sizeBytes <= fileSizeMax || file.path === "package-lock.json") return [];
  return [{ path: file.path, line: 1, message: `${sizeBytes} bytes, more than ${fileSizeMax}` }];
};

/** Nothing in the tree knows the machine it was written on. */
export const machinePaths: Rule = (file) =>
  findAll(
    file.path,
    file.text,
    /(?<![\w.$}/])\/(?:work|root|Users|home\/[a-z]+)\/[\w.-]+/g,
    (match) => `${match} is a path of one machine`,
  );

/** Packages come from wherever the host's npm and apt are set up to get them. */
export const registryHosts: Rule = (file) => {
  const hosts = [
    "registry.npm",
    "npmjs.",
    "yarnpkg.",
    "deb.debian.",
    "pypi.",
    "unpkg.",
    "jsdelivr.",
  ];
  const pattern = new RegExp(
    `(?:${hosts.map((host) => host.replace(".", "\\.")).join("|")})\\w*`,
    "g",
  );
  const findings: Finding[] = [];
  if (file.path !== "test/tidy/text-rules.ts" && !file.path.startsWith("test/tidy/rules.")) {
    findings.push(
      ...findAll(file.path, file.text, pattern, (match) => `${match}: a registry's host`),
    );
  }
  if (file.path === "package-lock.json") {
    findings.push(
      ...findAll(file.path, file.text, /"resolved":/g, () => "an address in the lockfile"),
    );
  }
  return findings;
};
