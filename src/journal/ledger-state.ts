import assert from "node:assert/strict";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import { isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { Consistency, PointDisk } from "../core/point.ts";
import { hexOf, sha256 } from "../format/bytes.ts";
import { headOfRecord, type LedgerMark, ledgerWindowBytesMax } from "../format/ledger.ts";
import { GroupState, type GroupStateParts } from "./group-state.ts";
import type { GroupLayout } from "./vault-layout.ts";

/**
 * What a ledger added up to at one of its records, so that opening a group need not read it from the beginning. It is believed only while
 * the ledger has that very record at that place; any doubt, and the ledger is read from its beginning.
 */
export interface LedgerState {
  readonly state: GroupState;
  readonly mark: LedgerMark;
}

/** Of `GroupStateParts` as it is written: another shape is another version, and the file of another version is not read. */
const stateVersion = 1;
/** A hundred thousand points take about 70 MiB. */
const stateLengthBytesMax = 512 * MIB;
const checksumLength = 64;

/** What many points have in common stands once, and by its place everywhere else. */
interface SharedParts {
  readonly consistencies: readonly Consistency[];
  readonly diskLists: readonly (readonly PointDisk[])[];
}

/** Writes what the ledger adds up to at `mark`, whole or not at all. STORAGE_*. */
export async function writeLedgerState(
  files: FileSystem,
  path: string,
  { state, mark }: LedgerState,
): Promise<void> {
  const bytes = encodeLedgerState(state.parts(), mark);
  await writeFileAtomically(files, path, bytes);
}

/** The last state that was written, if the ledger still goes on from it; null at any doubt, and when there is none. */
export async function readLedgerState(
  files: FileSystem,
  layout: Pick<GroupLayout, "ledger" | "ledgerState">,
): Promise<LedgerState | null> {
  try {
    const bytes = await readSmallFile(files, layout.ledgerState, stateLengthBytesMax);
    if (bytes === null) return null;
    const { mark, parts } = decodeLedgerState(bytes);
    if (!(await stands(files, layout.ledger, mark))) return null;
    return { state: GroupState.of(parts), mark };
  } catch (error) {
    // Derived: whatever is wrong with it, the ledger tells the same.
    if (isFault(error) || error instanceof DoubtError || error instanceof RangeError) return null;
    throw error;
  }
}

/** Whether the ledger has the very record that the mark names where it says. */
async function stands(files: FileSystem, path: string, mark: LedgerMark): Promise<boolean> {
  const lengthBytes = mark.lengthBytes - mark.headPositionBytes;
  if (lengthBytes <= 0 || lengthBytes > ledgerWindowBytesMax) return false;
  await using file = await files.open(path, "read");
  const bytes = new Uint8Array(lengthBytes);
  if ((await file.read(bytes, mark.headPositionBytes)) < lengthBytes) return false;
  const found = headOfRecord(bytes);
  return found?.hash === mark.head.hash && found.number === mark.head.number;
}

function encodeLedgerState(parts: GroupStateParts, mark: LedgerMark): Buffer {
  const places = new Map<object, number>();
  const placed = <Item extends object>(list: Item[], item: Item): number => {
    const place = places.get(item) ?? list.push(item) - 1;
    places.set(item, place);
    return place;
  };
  const consistencies: Consistency[] = [];
  const diskLists: (readonly PointDisk[])[] = [];
  const open = parts.open.map(({ facts: { consistency, disks, ...facts }, ...point }) => ({
    ...point,
    facts,
    consistency: placed(consistencies, consistency),
    disks: placed(diskLists, disks),
  }));
  const deltas = parts.deltas.map(({ disks, ...delta }) => ({
    ...delta,
    disks: placed(diskLists, disks),
  }));
  const shared: SharedParts = { consistencies, diskLists };
  const content = { version: stateVersion, mark, shared, parts: { ...parts, open, deltas } };
  const text = Buffer.from(JSON.stringify(content));
  return Buffer.concat([Buffer.from(`${hexOf(sha256(text))}\n`), text]);
}

/** Not a fault of the world: it decides nothing but that the ledger is read. */
class DoubtError extends Error {}

function decodeLedgerState(bytes: Uint8Array): { mark: LedgerMark; parts: GroupStateParts } {
  const text = bytes.subarray(checksumLength + 1);
  const checksum = Buffer.from(bytes.subarray(0, checksumLength)).toString("latin1");
  if (checksum !== hexOf(sha256(text))) throw new DoubtError("damaged");
  // Written by us and whole: its checksum is right, and another shape has another version.
  const content = JSON.parse(Buffer.from(text).toString("utf8"));
  if (content.version !== stateVersion) throw new DoubtError("another version");
  const { mark, shared, parts } = content;
  const open = parts.open.map((point: WrittenPoint) => {
    const { facts, consistency, disks, ...rest } = point;
    const commons = { consistency: at(shared.consistencies, consistency) };
    return { ...rest, facts: { ...facts, ...commons, disks: at(shared.diskLists, disks) } };
  });
  const deltas = parts.deltas.map((delta: { readonly disks: number }) => ({
    ...delta,
    disks: at(shared.diskLists, delta.disks),
  }));
  return { mark, parts: { ...parts, open, deltas } };
}

interface WrittenPoint {
  readonly facts: object;
  readonly consistency: number;
  readonly disks: number;
}

function at<Item>(list: readonly Item[], place: number): Item {
  const item = list[place];
  assert(item !== undefined, "what was written together is read together");
  return item;
}
