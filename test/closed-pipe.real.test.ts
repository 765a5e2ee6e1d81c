import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("../bin/afterimage", import.meta.url));

test("a reader that has enough ends the command without a word", () => {
  const script = `{ "${program}" vault raise --help; echo "exit code $?" >&2; } | exec true`;
  const { stderr } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
  expect(stderr).toMatch(/^(exit code (0|141)\n)?$/);
});
