import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { faultTable } from "../../src/base/fault-table.ts";
import * as codeRules from "./code-rules.ts";
import { faultCodes } from "./fault-rules.ts";
import { formatFinding, type TidyFile } from "./finding.ts";
import * as importRules from "./import-rules.ts";
import * as textRules from "./text-rules.ts";
import { readTree } from "./tree.ts";

const { proseOf: _, ...textRulesOnly } = textRules;
const rules = { ...importRules, ...codeRules, ...textRulesOnly };
let files: readonly TidyFile[] = [];

beforeAll(async () => {
  files = await readTree(fileURLToPath(new URL("../..", import.meta.url)));
});

describe("the tree is tidy", () => {
  for (const [name, rule] of Object.entries(rules)) {
    test(name, () => {
      expect(files.flatMap((file) => rule(file)).map(formatFinding)).toEqual([]);
    });
  }

  test("faultCodes", () => {
    expect(faultCodes(Object.keys(faultTable), files).map(formatFinding)).toEqual([]);
  });
});
