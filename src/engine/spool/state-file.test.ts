import { expect, test } from "vitest";
import { memoryFileSystem } from "../../base/memory-file-system.ts";
import { idForTest } from "../../delta/header-for-test.ts";
import { emptySpoolState, type SpoolState } from "./spool-state.ts";
import { withDropped } from "./state-changes.ts";
import {
  decodeSpoolState,
  encodeSpoolState,
  readSpoolState,
  writeSpoolState,
} from "./state-file.ts";

const path = "/spool/state";
const dropped = (count: number): SpoolState => ({
  ...emptySpoolState,
  dropped: Array.from({ length: count }, (_, at) => ({ id: idForTest(at + 1), sequence: at + 1 })),
});

test("a state that would be too long to be read again is not written", async () => {
  const files = memoryFileSystem();
  await files.makeDirectory("/spool");
  const before = dropped(1);
  await writeSpoolState(files, path, before);
  const writing = writeSpoolState(files, path, dropped(100), 2_000);
  await expect(writing).rejects.toMatchObject({ code: "SPOOL_FULL" });
  expect(await readSpoolState(files, path)).toEqual(before);
});

test("of many dropped points the oldest are remembered, and the newest", () => {
  const state = withDropped(dropped(2_000), 0);
  expect(state.dropped).toHaveLength(1_024);
  expect(state.dropped[0]?.sequence).toBe(1);
  expect(state.dropped.at(-1)?.sequence).toBe(2_000);
  expect(decodeSpoolState(encodeSpoolState(state))).toEqual(state);
});
