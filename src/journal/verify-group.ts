import type { FaultCode } from "../base/fault-table.ts";
import type { DiskIdentity, PointId } from "../core/ids.ts";
import type { Point } from "../core/point.ts";
import { type CheckOptions, checkBase, checkDelta } from "./check-files.ts";
import { type Damage, type JudgedDamage, judgeDamages } from "./damage.ts";
import type { Group } from "./group.ts";
import type { GroupState } from "./group-state.ts";
import { readLedger } from "./ledger-file.ts";
import { type ChainDelta, chainOf } from "./view.ts";

export interface VerifyOptions {
  readonly signal: AbortSignal;
  /** Only what this point reads: the base and the deltas up to it. Everything when not given. */
  readonly point?: PointId;
  readonly onProgress?: (progress: {
    readonly doneBytes: number;
    readonly totalBytes: number;
  }) => void;
  /** Called with the bytes just read; may wait, so that whoever verifies does not take the medium for himself. */
  readonly pace?: (lengthBytes: number) => Promise<void>;
  /** Files to be left out, because they were checked before. */
  readonly isDone?: (item: CheckedItem) => boolean;
  readonly onItem?: (item: CheckedItem, isGood: boolean) => Promise<void>;
}

/** A disk of the base or a delta, as the check goes through them: bases first, then deltas from old to new. */
export type CheckedItem =
  | { readonly kind: "base"; readonly identity: DiskIdentity; readonly path: string }
  | { readonly kind: "delta"; readonly sequence: number; readonly path: string };

/** A file that is not as it was written. */
export interface VerifyFinding {
  readonly path: string;
  readonly code: FaultCode;
  /** What is wrong, a sentence each; at most a hundred. */
  readonly problems: readonly string[];
  /** Points that show some damaged byte, oldest first. May be none: newer deltas have replaced it all. */
  readonly pointsLost: readonly PointId[];
  /** What can be done. */
  readonly hint: string;
}

/** What was hashed and what came of it. */
export interface VerifyReport {
  readonly findings: readonly VerifyFinding[];
  /** Every byte that these points show has its hash. */
  readonly pointsGood: readonly Point[];
  readonly pointsLost: readonly Point[];
  readonly checkedBytes: number;
}

/** Sentences kept of one file. */
const problemsMax = 100;

/**
 * Checks the ledger's chain (LEDGER_CORRUPT) and hashes the base and the deltas that open points read. The oldest and the newest point are pinned meanwhile, so that a writer may go
 * on sealing, thinning and moving the base: nothing that is being read goes. What only retired points would show is not reported.
 */
export async function verifyGroup(
  group: Group,
  lookAgain: () => Promise<void>,
  options: VerifyOptions,
): Promise<VerifyReport> {
  // Whoever opened the group may have begun in the middle of its ledger: verifying is the whole chain.
  await readLedger(group.files, group.layout.ledger, () => {});
  await using pins = new AsyncDisposableStack();
  const state = await pinEnds(group, lookAgain, options.point ?? null, pins);
  const newest = options.point === undefined ? state.head : group.pointNamed(options.point);
  if (newest === null) return { findings: [], pointsGood: [], pointsLost: [], checkedBytes: 0 };
  const { sequence } = newest.facts;
  const asked = options.point === undefined ? state.points() : [newest];
  // As it was when the pins were made: the writer may change its state while files are read.
  const points = asked.map((point) => group.pointOf(point));
  const chain = chainOf(group.layout, state, sequence);
  const { position } = state;
  const identities = new Set(points.flatMap((point) => point.disks.map((disk) => disk.identity)));
  const progress = await progressOf(group, chain, identities, options);
  const damages = await collect(group, { chain, identities, position }, progress, options);
  const judged = await judgeDamages(group.files, { points: () => asked }, chain, damages);
  const lost = new Set(judged.flatMap((damage) => damage.pointsLost));
  return {
    findings: findingsOf(judged),
    pointsGood: points.filter((point) => !lost.has(point.id)),
    pointsLost: points.filter((point) => lost.has(point.id)),
    checkedBytes: progress.doneBytes(),
  };
}

async function pinEnds(
  group: Group,
  lookAgain: () => Promise<void>,
  point: PointId | null,
  pins: AsyncDisposableStack,
): Promise<GroupState> {
  await lookAgain();
  for (;;) {
    const all = group.state.points();
    const ends = point === null ? [all[0]?.facts.id, all.at(-1)?.facts.id] : [point];
    const mine = new AsyncDisposableStack();
    for (const id of new Set(ends)) if (id !== undefined) mine.use(await group.pins.pin(id));
    await lookAgain();
    const isStill = ends.every((id) => id === undefined || group.state.find(id)?.point != null);
    if (isStill || point !== null) {
      pins.use(mine);
      return group.state;
    }
    await mine[Symbol.asyncDispose](); // Retired between the two looks.
  }
}

async function collect(
  group: Group,
  what: { chain: readonly ChainDelta[]; identities: ReadonlySet<DiskIdentity>; position: number },
  progress: { readonly onBytes: CheckOptions["onBytes"] },
  options: VerifyOptions,
): Promise<Damage[]> {
  const { files, layout } = group;
  const check: CheckOptions = { files, layout, signal: options.signal, onBytes: progress.onBytes };
  const { isDone = () => false, onItem } = options;
  const damages: Damage[] = [];
  const add = async (item: CheckedItem, work: () => Promise<Damage[]>) => {
    if (isDone(item)) return;
    options.signal.throwIfAborted();
    const found = await work();
    damages.push(...found);
    await onItem?.(item, found.length === 0);
  };
  for (const identity of [...what.identities].sort()) {
    const item = { kind: "base", identity, path: `${layout.base}/${identity}.raw` } as const;
    await add(item, () => checkBase(check, identity, what.position));
  }
  for (const file of what.chain) {
    const item = { kind: "delta", sequence: file.delta.sequence, path: file.path } as const;
    await add(item, () => checkDelta(check, file));
  }
  return damages;
}

async function progressOf(
  group: Group,
  chain: readonly ChainDelta[],
  identities: ReadonlySet<DiskIdentity>,
  options: VerifyOptions,
) {
  let totalBytes = chain.reduce((sum, { delta }) => sum + delta.storedBytes, 0);
  for (const identity of identities) {
    const status = await group.files.stat(`${group.layout.base}/${identity}.raw`);
    totalBytes += status?.sizeBytes ?? 0;
  }
  let doneBytes = 0;
  return {
    doneBytes: () => doneBytes,
    onBytes: async (lengthBytes: number) => {
      doneBytes += lengthBytes;
      options.onProgress?.({ doneBytes, totalBytes: Math.max(doneBytes, totalBytes) });
      await options.pace?.(lengthBytes);
    },
  };
}

/** One finding for each file. Base blocks that no open point shows are left out: a move of the base may stand half way there. */
function findingsOf(damages: readonly JudgedDamage[]): VerifyFinding[] {
  const byPath = Map.groupBy(
    damages.filter((one) => one.pointsLost.length > 0 || one.fault.code !== "BASE_CORRUPT"),
    (damage) => damage.path,
  );
  return [...byPath].map(([path, ofFile]) => {
    const { code } = ofFile[0]!.fault;
    return {
      path,
      code,
      problems: ofFile.slice(0, problemsMax).map((damage) => damage.fault.message),
      pointsLost: [...new Set(ofFile.flatMap((damage) => damage.pointsLost))],
      hint: hintOf(code),
    };
  });
}

function hintOf(code: FaultCode): string {
  switch (code) {
    case "DELTA_MISSING":
    case "DELTA_CORRUPT":
      return "Put the file back from a copy; or sync the disk anew, which makes later points good again.";
    case "DELTA_VERSION":
      return "Upgrade afterimage on this host.";
    case "BASE_CORRUPT":
      return "Put the base back from a copy; or sync the disk anew, which makes later points good again.";
    default:
      return "Check the host's kernel log and the medium.";
  }
}
