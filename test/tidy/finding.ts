/** Something a rule has against a file. */
export interface Finding {
  readonly path: string;
  /** Counts from 1. */
  readonly line: number;
  readonly message: string;
}

/** A file as the rules see it: path from the root of the tree, with forward slashes. */
export interface TidyFile {
  readonly path: string;
  readonly text: string;
}

/** Looks at one file, returns what is wrong. */
export type Rule = (file: TidyFile) => readonly Finding[];

/** A finding for every match of `pattern` (global) in `text`, which has the file's lines. */
export function findAll(
  path: string,
  text: string,
  pattern: RegExp,
  message: (match: string) => string,
): Finding[] {
  return [...text.matchAll(pattern)].map((match) => ({
    path,
    line: lineAt(text, match.index),
    message: message(match[0]),
  }));
}

/** The line that `index` is in, from 1. */
export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < index; at = text.indexOf("\n", at + 1)) {
    line += 1;
  }
  return line;
}

/** "path:line: message". */
export function formatFinding(finding: Finding): string {
  return `${finding.path}:${finding.line}: ${finding.message}`;
}
