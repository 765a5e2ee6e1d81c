import { mapOrdered } from "../base/map-ordered.ts";
import type { Run } from "../core/extent.ts";
import type { Statuses } from "./client-exchange.ts";
import { violation } from "./client-handshake.ts";
import { statusBytesMax } from "./limits.ts";

/** Questions under way at once: a large sparse disk is many windows, each a round trip. */
const windowsInFlightMax = 4;

/** A run in which every selected metadata context has one value. */
export interface NbdStatus {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Status flags by metadata context; what they mean is the context's. */
  readonly flags: Readonly<Record<string, number>>;
}

/** A run of one metadata context. */
export interface NbdExtent {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly flags: number;
}

/** Where block status comes from: one connection and what was negotiated on it. */
export interface StatusSource {
  readonly metaContexts: ReadonlyMap<number, string>;
  readonly minimumBlockBytes: number;
  readonly sizeBytes: number;
  query(offsetBytes: number, lengthBytes: number): Promise<Statuses>;
}

/**
 * All of [offsetBytes, offsetBytes + lengthBytes), in order, without gaps, neighbours with equal flags joined. A server may
 * describe less than it was asked, and a different length for each context: what all contexts cover is used, and the
 * next question starts there.
 */
export async function* walkStatus(
  source: StatusSource,
  offsetBytes: number,
  lengthBytes: number,
): AsyncGenerator<NbdStatus, void, undefined> {
  const block = source.minimumBlockBytes;
  const endBytes = offsetBytes + lengthBytes;
  const blockStartBytes = offsetBytes - (offsetBytes % block);
  const blockEndBytes = Math.min(source.sizeBytes, Math.ceil(endBytes / block) * block);
  for await (const status of walkBlocks(source, blockStartBytes, blockEndBytes)) {
    const startBytes = Math.max(status.offsetBytes, offsetBytes);
    const insideBytes = Math.min(status.offsetBytes + status.lengthBytes, endBytes) - startBytes;
    if (insideBytes > 0) {
      yield { offsetBytes: startBytes, lengthBytes: insideBytes, flags: status.flags };
    }
  }
}

/** Joins what the windows hold; several windows are asked for at once. */
async function* walkBlocks(
  source: StatusSource,
  offsetBytes: number,
  endBytes: number,
): AsyncGenerator<NbdStatus, void, undefined> {
  const names = [...source.metaContexts.values()];
  const ids = [...source.metaContexts.keys()];
  let pending: Placed | null = null;
  const windows = mapOrdered(windowsOf(offsetBytes, endBytes), windowsInFlightMax, (window) =>
    askWindow(source, ids, window),
  );
  for await (const runs of windows) {
    for (const run of runs) {
      if (pending !== null && isSame(pending.values, run.values)) {
        pending.lengthBytes += run.lengthBytes;
      } else {
        if (pending !== null) yield toStatus(pending, names);
        pending = run;
      }
    }
  }
  if (pending !== null) yield toStatus(pending, names);
}

function* windowsOf(offsetBytes: number, endBytes: number): Generator<Run> {
  for (let at = offsetBytes; at < endBytes; at += statusBytesMax) {
    yield { offsetBytes: at, lengthBytes: Math.min(statusBytesMax, endBytes - at) };
  }
}

/** Asks until all of a window is described. */
async function askWindow(source: StatusSource, ids: readonly number[], window: Run) {
  const runs: Placed[] = [];
  const endBytes = window.offsetBytes + window.lengthBytes;
  for (let atBytes = window.offsetBytes; atBytes < endBytes; ) {
    const askedBytes = endBytes - atBytes;
    const statuses = await source.query(atBytes, askedBytes);
    const coveredBytes = usableBytes(statuses, ids, askedBytes, source.minimumBlockBytes);
    for (const run of zipRuns(statuses, ids, coveredBytes)) {
      const last = runs.at(-1);
      if (last !== undefined && isSame(last.values, run.values))
        last.lengthBytes += run.lengthBytes;
      else runs.push({ offsetBytes: atBytes, ...run });
      atBytes += run.lengthBytes;
    }
  }
  return runs;
}

/** One context's runs out of all contexts' runs; neighbours with equal flags joined. */
export async function* selectContext(
  statuses: AsyncIterable<NbdStatus>,
  context: string,
): AsyncGenerator<NbdExtent, void, undefined> {
  let pending = null as { offsetBytes: number; lengthBytes: number; flags: number } | null;
  for await (const status of statuses) {
    const flags = status.flags[context] ?? 0;
    if (pending?.flags === flags) pending.lengthBytes += status.lengthBytes;
    else {
      if (pending !== null) yield pending;
      pending = { offsetBytes: status.offsetBytes, lengthBytes: status.lengthBytes, flags };
    }
  }
  if (pending !== null) yield pending;
}

/** How far all contexts reach, cut so that the next question starts on a block. */
function usableBytes(
  statuses: Statuses,
  ids: readonly number[],
  askedBytes: number,
  minimumBlockBytes: number,
): number {
  let coveredBytes = askedBytes;
  for (const id of ids) {
    let contextBytes = 0;
    for (const run of statuses.get(id)!) contextBytes += run.lengthBytes;
    coveredBytes = Math.min(coveredBytes, contextBytes);
  }
  if (coveredBytes < askedBytes) coveredBytes -= coveredBytes % minimumBlockBytes;
  if (coveredBytes === 0) {
    throw violation("block status that covers less than one block", { askedBytes });
  }
  return coveredBytes;
}

/** A run at its place, which may still grow. */
interface Placed {
  readonly offsetBytes: number;
  lengthBytes: number;
  readonly values: readonly number[];
}

interface ZippedRun {
  readonly lengthBytes: number;
  /** In the order of the context ids. */
  readonly values: readonly number[];
}

/** Cuts the contexts' lists wherever any of them changes. */
function* zipRuns(
  statuses: Statuses,
  ids: readonly number[],
  coveredBytes: number,
): Generator<ZippedRun> {
  const cursors = ids.map((id) => {
    const runs = statuses.get(id)!;
    return { runs, index: 0, leftBytes: runs[0]!.lengthBytes };
  });
  let leftBytes = coveredBytes;
  while (leftBytes > 0) {
    const lengthBytes = Math.min(leftBytes, ...cursors.map((cursor) => cursor.leftBytes));
    yield { lengthBytes, values: cursors.map((cursor) => cursor.runs[cursor.index]!.flags) };
    leftBytes -= lengthBytes;
    for (const cursor of cursors) {
      cursor.leftBytes -= lengthBytes;
      if (cursor.leftBytes > 0) continue;
      cursor.index += 1;
      cursor.leftBytes = cursor.runs[cursor.index]?.lengthBytes ?? 0;
    }
  }
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  return one.every((value, index) => value === other[index]);
}

function toStatus(run: Placed, names: readonly string[]): NbdStatus {
  const flags = Object.fromEntries(names.map((name, index) => [name, run.values[index]!]));
  return { offsetBytes: run.offsetBytes, lengthBytes: run.lengthBytes, flags };
}
