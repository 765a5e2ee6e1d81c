import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { parseDiskIdentity } from "../core/ids.ts";
import type { PointCost } from "../core/point.ts";
import { type DeltaReader, openDelta } from "../delta/reader.ts";
import { type LedgerMark, type LedgerRecord, ledgerStart } from "../format/ledger.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";
import { type Group, groupUnknown } from "./group.ts";
import { GroupState } from "./group-state.ts";
import {
  type Appended,
  LedgerFile,
  type ReadLedger,
  readLedger,
  setTailAside,
} from "./ledger-file.ts";
import { readLedgerState } from "./ledger-state.ts";
import { checkMaySeal } from "./seal-rules.ts";
import type { Staging } from "./staging.ts";
import { parseDeltaName } from "./vault-layout.ts";

/**
 * Brings a group's directory into the state that its ledger tells of, after whatever ended the last writer. In this order:
 * a torn end of the ledger is set aside; what was being written is removed; a sealed head that the ledger lacks is entered;
 * deltas that views no longer need go, unless somebody still reads; used-up syncs and nobody's bases go. Nothing that is not
 * known to be superfluous is deleted: it is set aside, and a note says so.
 */
export async function recoverGroup(group: Group, staging: Staging, clock: Clock) {
  const { files, layout, notes } = group;
  const ledger = await readWholeState(group);
  if (ledger === null) throw groupUnknown(layout);
  if (ledger.mark === null) {
    throw new Fault("LEDGER_CORRUPT", `${layout.ledger}: its first record does not read back`);
  }
  const tailNote = await setTailAside(files, layout.ledger, ledger);
  if (tailNote !== null) notes.push(tailNote);
  group.state = ledger.state;
  let { mark, records } = ledger;
  const file = await LedgerFile.open(files, layout.ledger, clock, ledger);
  try {
    for (const name of await files.list(layout.incoming)) {
      await files.remove(join(layout.incoming, name));
    }
    for (const { appended, count } of await enterSealedHead(group, file)) {
      mark = appended.mark;
      records += count;
    }
    await tidyDeltas(group);
    notes.push(...(await staging.recover(group.state)));
    await removeNobodysBases(group, staging);
    await group.loadMachines();
    await group.machines.dropAllBut(new Set(group.state.points().map((at) => at.machinesHash)));
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
  return { file, mark, records };
}

/** What a ledger adds up to, and what of that no written state has. */
interface WholeState extends ReadLedger {
  readonly state: GroupState;
  /** Null for a ledger without any record. */
  readonly mark: LedgerMark | null;
  readonly records: number;
}

/**
 * Reads a ledger, from the last written state on where that can be believed: what follows the very record that it names must follow it.
 * Null when there is none. LEDGER_CORRUPT, VAULT_VERSION.
 */
async function readWholeState({ files, layout }: Group): Promise<WholeState | null> {
  const from = await readLedgerState(files, layout);
  const state = from?.state ?? new GroupState();
  let mark: LedgerMark | null = from?.mark ?? null;
  let records = 0;
  const take = (record: LedgerRecord) => {
    const { entry, atMs, number, hash, positionBytes, lengthBytes } = record;
    state.apply(entry, atMs);
    records += 1;
    mark = {
      head: { number, hash },
      lengthBytes: positionBytes + lengthBytes,
      headPositionBytes: positionBytes,
    };
  };
  const read = await readLedger(files, layout.ledger, take, mark ?? ledgerStart);
  return read === null ? null : { ...read, state, mark, records };
}

const setAsideFor = [
  "DELTA_CORRUPT",
  "DELTA_VERSION",
  "SEAL_REFUSED",
  "GENERATION_STALE",
  "GENERATION_CONFLICT",
] as const;

/** A delta that was renamed into place and not entered: the crash came between the two. */
async function enterSealedHead(group: Group, ledger: LedgerFile) {
  const entered: { readonly appended: Appended; readonly count: number }[] = [];
  const { files, layout, state } = group;
  const known = knownFiles(group);
  for (const name of await files.list(layout.deltas)) {
    const parsed = parseDeltaName(name);
    if (parsed === null || known.has(name) || parsed.sequence <= state.headSequence) continue;
    const path = join(layout.deltas, name);
    try {
      await using reader = await openDelta({ files, path });
      checkMaySeal(state, reader.header);
      await files.syncDirectory(layout.deltas);
      const entries = await sealedEntries(group, reader, name);
      const appended = await ledger.append(...entries);
      for (const entry of entries) state.apply(entry, appended.atMs);
      entered.push({ appended, count: entries.length });
      group.notes.push(`Point #${reader.header.sequence} was sealed and is now in the ledger.`);
    } catch (error) {
      if (!isFault(error, ...setAsideFor)) throw error;
      await setAside(group, name, error);
    }
  }
  return entered;
}

async function sealedEntries(group: Group, reader: DeltaReader, file: string) {
  const { machines, ...point } = reader.header;
  const machinesHash = await group.machines.keep(machines);
  const cost = costOf(reader);
  const body = { point, machinesHash, contentRoot: reader.contentRoot, file, cost };
  return [{ kind: "point-sealed", body: body as never } satisfies LedgerEntry];
}

/** What the cycle counted died with it: what stands in the delta is the least that it can have read. */
function costOf(reader: DeltaReader): PointCost {
  const { index, sizeBytes } = reader;
  let [dataBytes, zeroBytes] = [0, 0];
  for (let entry = 0; entry < index.entryCount; entry += 1) {
    if (index.isZero(entry)) zeroBytes += index.lengthBytes(entry);
    else dataBytes += index.lengthBytes(entry);
  }
  const dirtyBytes = dataBytes + zeroBytes;
  return { dirtyBytes, readBytes: dataBytes, dataBytes, zeroBytes, storedBytes: sizeBytes };
}

function knownFiles(group: Group): Set<string> {
  return new Set(group.state.deltas().map((delta) => delta.file));
}

/**
 * Removes deltas that no view needs any more. A view reads deltas up to its point only, so those that begin at or above the
 * newest point that is being read go at once; the others stay until nobody reads.
 */
export async function tidyDeltas(group: Group): Promise<void> {
  const { files, layout, state } = group;
  // Before the directory is looked at: a delta that is sealed meanwhile lies above this head and is left alone.
  const { headSequence } = state;
  const known = knownFiles(group);
  const present = new Set(await files.list(layout.deltas));
  const missing = [...known].filter((name) => !present.has(name));
  const pinned = await group.pinnedSequences();
  const pinnedMax = Math.max(0, ...pinned);
  const superfluous = [...present].filter((name) => {
    const parsed = parseDeltaName(name);
    if (known.has(name) || parsed === null || parsed.sequence > headSequence) return false;
    return pinned.length === 0 || parsed.fromSequence >= pinnedMax;
  });
  if (superfluous.length === 0) return;
  if (missing.length > 0) {
    // The ledger may have lost its newest records: what looks superfluous may be all there is.
    group.notes.push(
      `${missing.join(", ")} of ${layout.deltas} missing: nothing was tidied there.`,
    );
    return;
  }
  for (const name of superfluous) await files.remove(join(layout.deltas, name));
  await files.syncDirectory(layout.deltas);
}

async function setAside(group: Group, name: string, reason: Fault): Promise<void> {
  const { files, layout } = group;
  const path = join(layout.deltas, name);
  await files.rename(path, `${path}.aside`);
  await files.syncDirectory(layout.deltas);
  group.notes.push(`${path} is not in the ledger and was set aside: ${reason.message}`);
}

/** Bases that neither a point nor a sync names: an initial sync that was given up, or a disk that left with its last point. */
export async function removeNobodysBases(group: Group, staging: Staging): Promise<void> {
  const { files, layout, state } = group;
  // In this order: whatever comes into being meanwhile is named by a sync first and by a point before the sync lets go of it.
  const names = await files.list(layout.base);
  const staged = await staging.stagedBases();
  const kept = new Set([...staged, ...state.identities()]);
  const unnamed = names.filter((name) => {
    const identity = parseDiskIdentity(name.slice(0, name.indexOf(".")));
    return identity !== null && !kept.has(identity);
  });
  if (unnamed.length === 0 || (await group.pins.pinned()).size > 0) return;
  for (const name of unnamed) await files.remove(join(layout.base, name));
  await files.syncDirectory(layout.base);
}
