import { describe, test } from "vitest";
import { interruptEverywhere, works } from "./kill-cases-for-test.ts";
import { checkRandomHistories } from "./random-histories-for-test.ts";

// What the fast tests take samples of, at length.

test("whatever happens, every point reads back as it was acknowledged", () =>
  checkRandomHistories(150));

describe.each(["killed", "full"] as const)("%s at each change of a file", (mode) => {
  test.each(works)("while %s", (_, work) =>
    interruptEverywhere(work, mode, Number.POSITIVE_INFINITY),
  );
});
