import { type Fault, isFault } from "../base/fault.ts";
import { mapOrdered } from "../base/map-ordered.ts";
import type { HashHex } from "../core/ids.ts";
import type { DeltaReader } from "./reader.ts";

const chunksInFlightMax = 4;
/** More findings in one file say nothing new. */
const faultsMax = 100;

/** What reading every chunk of a delta found. */
export interface DeltaVerification {
  readonly contentRoot: HashHex;
  readonly chunkCount: number;
  readonly dataBytes: number;
  /** DELTA_CORRUPT, one per damaged chunk, at most a hundred; empty when every byte has its hash. */
  readonly faults: readonly Fault[];
}

/**
 * Reads every chunk and checks every hash; opening the reader has checked all the rest of the file. Damage is collected, not
 * thrown; what keeps the file from being read (STORAGE_*) or the signal rejects.
 */
export async function verifyDelta(
  reader: DeltaReader,
  options: { readonly signal: AbortSignal; readonly onChunk?: (storedBytes: number) => void },
): Promise<DeltaVerification> {
  const { index } = reader;
  const faults: Fault[] = [];
  let [chunkCount, dataBytes] = [0, 0];
  const checked = mapOrdered(dataEntries(reader), chunksInFlightMax, async (entry) => {
    options.signal.throwIfAborted();
    const fault = await damageOf(reader, entry);
    options.onChunk?.(index.storedLengthBytes(entry));
    return { fault, lengthBytes: index.lengthBytes(entry) };
  });
  for await (const { fault, lengthBytes } of checked) {
    chunkCount += 1;
    dataBytes += lengthBytes;
    if (fault !== null && faults.length < faultsMax) faults.push(fault);
  }
  return { contentRoot: reader.contentRoot, chunkCount, dataBytes, faults };
}

function* dataEntries(reader: DeltaReader): Generator<number, void, undefined> {
  for (let entry = 0; entry < reader.index.entryCount; entry += 1) {
    if (!reader.index.isZero(entry)) yield entry;
  }
}

async function damageOf(reader: DeltaReader, entry: number): Promise<Fault | null> {
  try {
    await reader.readStored(entry);
    return null;
  } catch (error) {
    if (isFault(error, "DELTA_CORRUPT")) return error;
    throw error;
  }
}
