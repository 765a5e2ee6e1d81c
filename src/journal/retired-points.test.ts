import { expect, test } from "vitest";
import type { DiskIdentity, DiskName, GroupName, PointId } from "../core/ids.ts";
import type { PointHeader } from "../core/point.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { GroupState, retiredRememberedMax } from "./group-state.ts";
import { TestHistory } from "./history-for-test.ts";
import { checkMaySeal } from "./seal-rules.ts";
import { listStagedRecords, writeStagedRecord } from "./staged-status.ts";
import { memoryVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;
const forgottenCount = 5;
const retiredCount = retiredRememberedMax + forgottenCount;
const idOf = (sequence: number) => sequence.toString(16).padStart(16, "0") as PointId;
const rootOf = (sequence: number) => sequence.toString(16).padStart(64, "0");

function headerOf(sequence: number): PointHeader {
  return {
    id: idOf(sequence),
    group: "erp" as GroupName,
    generation: { number: 1, holder: "00000000000000aa" },
    sequence,
    fromSequence: sequence - 1,
    fromPoint: sequence === 1 ? null : idOf(sequence - 1),
    instant: { lowerMs: 1, upperMs: 2, clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [],
    machines: [],
    notes: [],
  } as unknown as PointHeader;
}

/** A group that sealed and retired more points than are remembered; two are open. */
function longState(): GroupState {
  const state = new GroupState();
  const apply = (entry: unknown) => state.apply(entry as LedgerEntry, 1);
  apply({ kind: "group-created", body: { group: "erp", vault: "00000000000000bb" } });
  const cost = { dirtyBytes: 0, readBytes: 0, dataBytes: 0, zeroBytes: 0, storedBytes: 0 };
  for (let sequence = 1; sequence <= retiredCount + 2; sequence += 1) {
    const point = headerOf(sequence);
    const contentRoot = rootOf(sequence);
    const body = { point, machinesHash: rootOf(0), contentRoot, file: `${sequence}.delta`, cost };
    apply({ kind: "point-sealed", body });
    const gone = sequence - 2;
    if (gone < 1) continue;
    const points = [{ id: idOf(gone), sequence: gone, contentRoot: rootOf(gone) }];
    apply({ kind: "points-retired", body: { points, reason: "" } });
    apply({ kind: "base-moved", body: { sequence: gone, contentRoots: [] } });
  }
  return state;
}

test("the points retired last are remembered, older ones are not", () => {
  const state = longState();
  expect(state.forgottenSequenceMax).toBe(forgottenCount);
  for (const known of [forgottenCount + 1, retiredCount]) {
    expect(state.find(idOf(known))).toEqual({ point: null });
    expect(state.sealedAs(known)).toMatchObject({ id: idOf(known), contentRoot: rootOf(known) });
  }
  for (const forgotten of [1, forgottenCount]) {
    expect(state.find(idOf(forgotten))).toBeNull();
    expect(state.sequenceOf(idOf(forgotten))).toBeNull();
    expect(state.sealedAs(forgotten)).toBeNull();
  }
  expect(state.points().map((point) => point.facts.sequence)).toEqual([
    retiredCount + 1,
    retiredCount + 2,
  ]);
});

test("a remembered sequence may come again, a forgotten one is refused", () => {
  const state = longState();
  for (const known of [forgottenCount + 1, retiredCount, retiredCount + 2]) {
    checkMaySeal(state, headerOf(known));
  }
  for (const forgotten of [1, forgottenCount]) {
    expect(() => checkMaySeal(state, headerOf(forgotten))).toThrowError(
      expect.objectContaining({ code: "SEAL_REFUSED" }),
    );
  }
});

async function fourPoints() {
  const vault = await memoryVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  history.addDisk("db/data", 1024 * 1024);
  for (let count = 0; count < 4; count += 1) {
    history.scribble(4);
    await history.seal(journal);
  }
  return { vault, journal };
}

test("whoever reads a forgotten point holds everything that it could read", async () => {
  const { vault, journal } = await fourPoints();
  const pin = await journal.group.pins.pin(idOf(1));
  const head = journal.head()!;
  journal.group.state.forgottenSequenceMax = 2;
  expect(await journal.group.pinnedSequences()).toEqual([0, 2]);
  const refused = { code: "POINT_PINNED" };
  await expect(journal.moveBase({ to: head.id, signal })).rejects.toMatchObject(refused);
  await expect(journal.thin({ keep: [], signal })).rejects.toMatchObject(refused);
  await pin[Symbol.asyncDispose]();
  await journal.moveBase({ to: head.id, signal });
  await vault.close();
});

test("what a point took over from a sync is released before the point is retired", async () => {
  const { vault, journal } = await fourPoints();
  const [first] = journal.points();
  const { files, layout } = vault;
  const identity = "00000000000000e7" as DiskIdentity;
  await writeStagedRecord(files, `${layout.staged}/${identity}.json`, {
    kind: "base",
    disk: "db/left" as DiskName,
    identity,
    sizeBytes: 65_536,
    syncId: idOf(99),
    resumeAtBytes: 0,
    writtenBelowBytes: 0,
    adoptedBy: first!.id,
  } as never);
  expect(await listStagedRecords(files, layout.staged)).toHaveLength(1);
  await journal.thin({ keep: [], signal });
  expect(await listStagedRecords(files, layout.staged)).toEqual([]);
  await vault.close();
});
