import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { seededPrng } from "../base/prng.ts";
import { MIB } from "../base/units.ts";
import type { ConfigGroup } from "../cli/config-schema.ts";
import type { RetentionPolicy } from "../core/retention.ts";
import { TestHistory, testGroup } from "../journal/history-for-test.ts";
import { memoryVault, type TestVault } from "../journal/vault-for-test.ts";
import { AlarmBook } from "./alarm-book.ts";
import { controlHandler } from "./control-handler.ts";
import { GroupWriter } from "./group-writer.ts";

let vault: TestVault;
let history: TestHistory;
const signal = new AbortController().signal;
const group: ConfigGroup = { name: testGroup, onStale: "alarm", machines: [] };
const keepAll = { pointsMax: null, ageMaxMs: null };

beforeEach(async () => {
  vault = await memoryVault();
  history = new TestHistory(3);
  history.addDisk("erp/data", MIB);
});
afterEach(() => vault[Symbol.asyncDispose]());

async function writer(retention: RetentionPolicy = keepAll, points = 4): Promise<GroupWriter> {
  const journal = await vault.reopen();
  for (let count = 0; count < points; count += 1) {
    history.scribble(2);
    await history.seal(journal);
  }
  return new GroupWriter({ group, journal, clock: systemClock(), retention });
}

const about = { startedAtMs: 5, alarms: new AlarmBook(systemClock()) };
const handled = (one: GroupWriter) => ({
  name: one.name,
  writer: one,
  get state() {
    return one.state;
  },
});
const sequences = (of: GroupWriter) => of.journal.points().map((point) => point.sequence);

describe("after a seal", () => {
  test("points beyond retention are retired and the rest reads back", async () => {
    const one = await writer({ pointsMax: 2, ageMaxMs: null });
    await one.maintain({ signal });
    expect(sequences(one)).toEqual([3, 4]);
    await history.check(one.journal);
  });
  test("nothing happens while nothing is due", async () => {
    const one = await writer();
    await one.maintain({ signal });
    expect(sequences(one)).toEqual([1, 2, 3, 4]);
  });
  test("a point that somebody reads is waited for, and status says so", async () => {
    const one = await writer({ pointsMax: 1, ageMaxMs: null });
    {
      await using _view = await one.journal.open(one.journal.points()[0]!.id);
      await one.maintain({ signal });
      expect(sequences(one)).toEqual([1, 2, 3, 4]);
      expect(one.state.trouble).toMatch(/^POINT_PINNED: /);
    }
    await one.maintain({ signal });
    expect(sequences(one)).toEqual([4]);
    expect(one.state.trouble).toBeNull();
  });
});

describe("changes", () => {
  test("run one after the other, and a failure stops none that follows", async () => {
    const one = await writer();
    const [, second] = one.journal.points();
    const gone = { verb: "move-base", group: testGroup, point: "ffffffffffffffff" } as const;
    const changes = await Promise.allSettled([
      one.change({ ...gone, point: gone.point as never }, { signal }),
      one.change({ verb: "thin", group: testGroup, retire: [second!.id] }, { signal }),
    ]);
    expect(changes.map((change) => change.status)).toEqual(["rejected", "fulfilled"]);
    expect(sequences(one)).toEqual([1, 3, 4]);
  });
  test("of one who has gone do not begin", async () => {
    const one = await writer();
    const gone = AbortSignal.abort(new Fault("ABORTED", "gone"));
    const points = one.journal.points().map((point) => point.id);
    const change = one.change({ verb: "thin", group: testGroup, retire: points }, { signal: gone });
    await expect(change).rejects.toMatchObject({ code: "ABORTED" });
    expect(sequences(one)).toEqual([1, 2, 3, 4]);
  });
  test("go on beside a scrub, of which there is one at a time", async () => {
    const one = await writer();
    const scrub = { verb: "scrub", group: testGroup, rateBytesPerSecond: 65_536 } as const;
    const stop = new AbortController();
    const first = one.change(scrub, { signal: stop.signal });
    await expect(one.change(scrub, { signal })).rejects.toMatchObject({ code: "VAULT_BUSY" });
    const [, second] = one.journal.points();
    await one.change({ verb: "thin", group: testGroup, retire: [second!.id] }, { signal });
    stop.abort(new Fault("ABORTED", "enough"));
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    expect(sequences(one)).toEqual([1, 3, 4]);
  });
});

test("the first generation is drawn, later ones are the head's", async () => {
  const empty = await writer(keepAll, 0);
  expect(empty.generation(seededPrng(1))).toEqual({
    number: 1,
    holder: expect.stringMatching(/^[0-9a-f]{16}$/),
  });
  await history.seal(empty.journal);
  expect(empty.generation(seededPrng(1)).holder).toBe("00000000000000aa");
});

describe("other processes", () => {
  const options = { signal, onProgress: () => {} };

  test("are told how each group is", async () => {
    const one = await writer();
    const handle = controlHandler([handled(one)], about);
    one.follow({ group: testGroup, type: "state", state: "replicating", previous: null });
    const fault = new Fault("QMP_MISSING", "nobody there");
    one.follow({ group: testGroup, type: "maintenance-failed", fault });
    expect(await handle({ verb: "state" }, options)).toEqual({
      pid: process.pid,
      startedAtMs: 5,
      role: "up",
      alarms: [],
      groups: [
        {
          name: "erp",
          state: "replicating",
          trouble: expect.stringMatching(/^QMP_MISSING: .* — /),
        },
      ],
    });
    one.fail(fault);
    expect(await handle({ verb: "state" }, options)).toMatchObject({
      groups: [{ state: "stopped" }],
    });
  });
  test("cannot change a group that this one does not replicate", async () => {
    const handle = controlHandler([handled(await writer())], about);
    const other = { verb: "thin" as const, group: "mail" as never, retire: [] };
    await expect(handle(other, options)).rejects.toMatchObject({ code: "VAULT_BUSY" });
  });
});
