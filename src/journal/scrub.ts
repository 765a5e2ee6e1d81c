import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import type { DirectoryJournal } from "./directory-journal.ts";
import { type CheckedItem, type VerifyReport, verifyGroup } from "./verify-group.ts";

const stateLengthBytesMax = 4 * MIB;
const suspectsMax = 10_000;
const stateSchema = z.strictObject({
  /** The last base that was gone through; null before the first. */
  identity: z.string().max(16).nullable(),
  /** Sequence of the last delta that was gone through. */
  sequence: z.int().min(0),
  /** Files in which something was found: looked at again when the scrub goes on. */
  suspects: z.array(z.string().max(4096)).max(suspectsMax),
});
type ScrubState = z.infer<typeof stateSchema>;

const fromTheStart: ScrubState = { identity: null, sequence: 0, suspects: [] };

export interface ScrubOptions {
  readonly signal: AbortSignal;
  /** At most this many bytes a second are read. */
  readonly rateBytesPerSecond: number;
  readonly onProgress?: (progress: {
    readonly doneBytes: number;
    readonly totalBytes: number;
  }) => void;
}

/**
 * Hashes everything that open points read, slowly, in the background. Where it stands is kept, so that a restart goes on there. At the end
 * the points that are good are entered in the ledger as verified, and the next scrub begins at the start.
 */
export async function scrub(
  journal: DirectoryJournal,
  clock: Clock,
  options: ScrubOptions,
): Promise<VerifyReport> {
  const { group } = journal;
  const { files, layout } = group;
  let state = await readState(files, layout.scrub);
  const first = state;
  const report = await verifyGroup(group, async () => {}, {
    signal: options.signal,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    pace: pacer(clock, options),
    isDone: (item) => isBefore(item, first) && !first.suspects.includes(item.path),
    onItem: async (item, isGood) => {
      state = after(item, isGood, state);
      const bytes = Buffer.from(`${JSON.stringify(state)}\n`);
      await writeFileAtomically(files, layout.scrub, bytes);
    },
  });
  await files.remove(layout.scrub);
  for (const point of report.pointsGood) {
    if (group.state.find(point.id)?.point != null) await journal.recordVerified(point);
  }
  return report;
}

/** Waits as long as it takes to stay below the rate, counted from the start. */
function pacer(clock: Clock, { rateBytesPerSecond, signal }: ScrubOptions) {
  const startedAtMs = clock.monotonicMs();
  let doneBytes = 0;
  return async (lengthBytes: number) => {
    doneBytes += lengthBytes;
    const dueAtMs = startedAtMs + (doneBytes / rateBytesPerSecond) * 1000;
    const aheadMs = dueAtMs - clock.monotonicMs();
    if (aheadMs > 0) await clock.sleep(aheadMs, { signal });
  };
}

function isBefore(item: CheckedItem, state: ScrubState): boolean {
  if (item.kind === "delta") return item.sequence <= state.sequence;
  return state.sequence > 0 || (state.identity !== null && item.identity <= state.identity);
}

function after(item: CheckedItem, isGood: boolean, state: ScrubState): ScrubState {
  const others = state.suspects.filter((path) => path !== item.path);
  const suspects = isGood ? others : [...others, item.path].slice(-suspectsMax);
  if (isBefore(item, state)) return { ...state, suspects };
  if (item.kind === "base") return { ...state, identity: item.identity, suspects };
  return { ...state, sequence: item.sequence, suspects };
}

async function readState(files: FileSystem, path: string): Promise<ScrubState> {
  const content = await readSmallFile(files, path, stateLengthBytesMax);
  if (content === null) return fromTheStart;
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(content).toString("utf8")));
  } catch {
    return fromTheStart; // Torn or foreign: everything is looked at again.
  }
}
