import { posix } from "node:path";
import type { Finding, Rule } from "./finding.ts";
import { lineAt } from "./finding.ts";

/** Floors of docs/ARCHITECTURE.md: a file imports its own folder and lower floors only. */
const floors: Readonly<Record<string, number>> = {
  base: 0,
  core: 1,
  format: 1,
  api: 1,
  nbd: 2,
  qemu: 2,
  libvirt: 2,
  ovirt: 2,
  delta: 2,
  tls: 2,
  store: 2,
  source: 3,
  platform: 3,
  journal: 3,
  transport: 3,
  engine: 4,
  recovery: 5,
  insight: 5,
  control: 6,
  http: 7,
  cli: 7,
  daemon: 8,
};

const importPattern = /(?:\bfrom\s+|\bimport\s*\(?\s*)"([^"\n]+)"/g;

/** Imports point downwards; core knows nothing of node; what ships imports nothing that does not. */
export const importDirection: Rule = (file) => {
  if (!file.path.startsWith("src/") || file.path.includes(".test.")) return [];
  const folder = file.path.split("/")[1]!;
  const floor = floors[folder];
  const findings: Finding[] = [];
  const add = (index: number, message: string) =>
    findings.push({ path: file.path, line: lineAt(file.text, index), message });
  if (floor === undefined) {
    add(0, `src/${folder} has no floor; give it one in test/tidy/import-rules.ts`);
    return findings;
  }
  for (const match of file.text.matchAll(importPattern)) {
    const specifier = match[1]!;
    if (folder === "core" && specifier.startsWith("node:") && specifier !== "node:assert/strict") {
      add(match.index, `core is pure and does not import ${specifier}`);
    }
    if (!specifier.startsWith(".")) continue;
    const target = posix.join(posix.dirname(file.path), specifier);
    const targetFolder = target.split("/")[1] ?? "";
    const targetFloor = floors[targetFolder];
    if (!target.startsWith("src/") || target.includes(".test.")) {
      add(match.index, `${target} does not ship with src`);
    } else if (targetFolder !== folder && (targetFloor === undefined || targetFloor >= floor)) {
      const places = `${targetFolder} (floor ${targetFloor ?? "none"}) from ${folder} (floor ${floor})`;
      add(match.index, `imports point to lower floors only: ${places}`);
    }
  }
  return findings;
};
