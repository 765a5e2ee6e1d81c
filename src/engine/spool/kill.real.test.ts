import { describe, test } from "vitest";
import { interruptEverywhere, works } from "../../../test/support/spool-kill-cases.ts";

const killsMax = Number.POSITIVE_INFINITY;

for (const mode of ["killed", "full"] as const) {
  describe(`a replicator that is ${mode === "killed" ? "killed" : "out of room"} at changes of its files`, () => {
    for (const [name, what] of Object.entries(works)) {
      test(`in ${name} loses nothing`, () => interruptEverywhere(what, mode, killsMax));
    }
  });
}
