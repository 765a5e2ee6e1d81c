import { describe, expect, test } from "vitest";
import * as code from "./code-rules.ts";
import { faultCodes } from "./fault-rules.ts";
import type { Rule } from "./finding.ts";
import { importDirection } from "./import-rules.ts";
import { splitSource } from "./source-text.ts";
import * as text from "./text-rules.ts";

interface Case {
  readonly rule: Rule;
  readonly path: string;
  readonly bad: readonly string[];
  readonly good: readonly string[];
}

const long = (lines: number) => Array.from({ length: lines }, () => "  work();").join("\n");
const word = (...parts: readonly string[]) => parts.join("");

const cases: Readonly<Record<string, Case>> = {
  "an upward import": {
    rule: importDirection,
    path: "src/nbd/client.ts",
    bad: [
      'import { run } from "../engine/cycle.ts";',
      'import type { A } from "../qemu/qmp.ts";',
      'const late = await import("../cli/main.ts");',
      'import { world } from "../../sim/world.ts";',
      'export { a } from "./client.test.ts";',
    ],
    good: ['import { KIB } from "../base/units.ts";', 'import { frame } from "./frame.ts";'],
  },
  "a folder without a floor": {
    rule: importDirection,
    path: "src/attic/box.ts",
    bad: ["const box = 1;"],
    good: [],
  },
  "node in the core": {
    rule: importDirection,
    path: "src/core/extent.ts",
    bad: ['import { readFile } from "node:fs/promises";'],
    good: ['import assert from "node:assert/strict";'],
  },
  "the host's clock": {
    rule: code.hostClock,
    path: "src/engine/cycle.ts",
    bad: [
      "const at = Date.now();",
      "setTimeout(run, 5);",
      "const at = new Date();",
      "Math.random()",
    ],
    good: [
      "// Date.now is banned",
      'const text = "setTimeout";',
      "const at = new Date(takenAtMs);",
    ],
  },
  "bits on an offset": {
    rule: code.bitsOnOffsets,
    path: "src/delta/chunk.ts",
    bad: [
      "const whole = value | 0;",
      "const end = blocks << offsetBits;",
      "const block = offsetBytes >> 16;",
      "const low = (lengthBytes) | flag;",
      "const size = 1 << 40;",
    ],
    good: [
      "const flag = 1 << 3;",
      "type Place = number | Offset;",
      "const has = (flags & 4) !== 0 || offsetBytes > 0;",
    ],
  },
  "a silenced checker": {
    rule: code.silencedTypes,
    path: "src/delta/chunk.ts",
    bad: [`const a = b ${word("as", " any")};`, `// ${word("@ts-", "ignore")}`],
    good: ['const text = "as any";'],
  },
  "a leftover": {
    rule: code.leftovers,
    path: "docs/a.md",
    bad: [word("FIX", "ME later"), word("TO", "DO: more"), word("X", "XX")],
    good: ["todo lists are fine"],
  },
  "printing from the inside": {
    rule: code.consoleUse,
    path: "src/engine/cycle.ts",
    bad: ['console.log("done");'],
    good: ["// console.log is for commands"],
  },
  "a long file": {
    rule: code.fileLength,
    path: "src/engine/cycle.ts",
    bad: [long(401)],
    good: [long(400)],
  },
  "a long function": {
    rule: code.functionLength,
    path: "src/engine/cycle.ts",
    bad: [
      `export async function run(): Promise<void> {\n${long(69)}\n}`,
      `const run = async (a: number) => {\n${long(69)}\n};`,
      `class A {\n  run(a = { b: 1 }): void {\n${long(69)}\n  }\n}`,
      `function run(\n  a: number,\n  b: number,\n): void {\n${long(66)}\n}`,
      `function run() {\n  const a = () => {\n${long(69)}\n  };\n}`,
    ],
    good: [
      `function run() {\n${long(68)}\n}`,
      `function run() {\n  const a = () => {\n${long(40)}\n  };\n${long(40)}\n}`,
      `const table = {\n${long(90)}\n};`,
      `describe("runs", () => {\n  test("once", () => {});\n${long(90)}\n});`,
    ],
  },
  "an export without a comment": {
    rule: code.docComments,
    path: "src/engine/cycle.ts",
    bad: ["export function run() {}", "export const limit = 1;", "export type A = 1;"],
    good: ["/** Runs. */\nexport async function run() {}", "function inner() {}"],
  },
  "a vague name": {
    rule: code.fileNames,
    path: "src/engine/utils.ts",
    bad: [""],
    good: [],
  },
  "a name not in kebab case": {
    rule: code.fileNames,
    path: "src/engine/theCycle.ts",
    bad: [""],
    good: [],
  },
  "a page with two titles or none": {
    rule: text.oneTitle,
    path: "docs/a.md",
    bad: ["# One\n\n# Two\n", "plain\n"],
    good: ["# One\n\n```sh\n# a comment\n```\n\n## Part\n"],
  },
  "a word with a better one": {
    rule: text.glossaryWords,
    path: "docs/a.md",
    bad: ["A dump of the disk.", "the Master copy", "Blobs are stored", "the replica starts"],
    good: ["Run `mysqldump --master-data`.", "Replication beside backup."],
  },
  "a word with a better one in what commands print": {
    rule: text.glossaryWords,
    path: "src/cli/points.ts",
    bad: ['write("the replica is ready");'],
    good: ["// a replica by another name"],
  },
  "a name with a better one": {
    rule: text.glossaryNames,
    path: "src/qemu/fleece.ts",
    bad: ["const backupJob = 1;", "class ReplicaStore {}"],
    good: ['execute("blockdev-backup");', "const replicator = 1;"],
  },
  "a large file": {
    rule: text.fileSize,
    path: "test/golden.txt",
    bad: ["a".repeat(256 * 1024 + 1)],
    good: ["a".repeat(256 * 1024)],
  },
  "a machine's path": {
    rule: text.machinePaths,
    path: "docs/a.md",
    bad: [word("see /wo", "rk/main"), word("cat /ro", "ot/file"), word("/home", "/ann/a")],
    good: ["root:x:0:0:root:/root:/bin/sh", "disk/work/queue", "/srv/vault"],
  },
  "a registry's host": {
    rule: text.registryHosts,
    path: "package-lock.json",
    bad: [word("https://registry.n", "pmjs.org/a"), word('"resol', 'ved": "a"')],
    good: ['"integrity": "sha512-a"'],
  },
};

describe("every rule fails when it should and only then", () => {
  for (const [name, { rule, path, bad, good }] of Object.entries(cases)) {
    test(name, () => {
      for (const text of bad) expect(rule({ path, text }), text).not.toEqual([]);
      for (const text of good) expect(rule({ path, text }), text).toEqual([]);
    });
  }

  test("a fault code that nothing raises, or that is not documented", () => {
    const raising = { path: "src/nbd/a.ts", text: 'throw new Fault("A_B", "why");' };
    const page = { path: "docs/operating/faults.md", text: "## `A_B`" };
    expect(faultCodes(["A_B"], [raising, page])).toEqual([]);
    expect(faultCodes(["A_B"], [page])).toHaveLength(1);
    expect(faultCodes(["A_B"], [raising])).toHaveLength(1);
  });
});

test("code, comments and strings are told apart, also inside templates and patterns", () => {
  const opening = ["$", "{"].join("");
  const source = `a(\`x ${opening}b("c")} y\`); // d\nconst e = /["'\`]/g; /* f */ g("h\\"i");`;
  const { code, comments, strings } = splitSource(source);
  expect(code.replace(/\s+/g, " ")).toBe(`a(\` ${opening}b(" ")} \`); const e = / /g; g(" ");`);
  expect(comments.replace(/\s+/g, " ").trim()).toBe("// d /* f */");
  expect(strings.replace(/\s+/g, " ").trim()).toBe(`x c y ["'\`] h\\"i`);
});
