import type { DiskIdentity, DiskName, GroupName } from "../core/ids.ts";
import type { StoredChunk } from "../core/journal.ts";
import { CompressionTrial } from "../delta/compression-trial.ts";
import type { PieceHasher } from "../delta/piece-hasher.ts";
import { encodeZstdPayload } from "../format/codec.ts";
import { encodeChunkHeader } from "../format/wire-chunk.ts";
import type { ChunkOptions } from "./link-intake.ts";

/** Makes chunks of what was read: hashed, and compressed where that is asked for and helps. */
export class ChunkMaker {
  readonly #hasher: PieceHasher;
  readonly #group: GroupName;
  readonly #options: ChunkOptions;
  readonly #trials = new Map<DiskName, CompressionTrial>();

  constructor(hasher: PieceHasher, group: GroupName, options: ChunkOptions) {
    this.#hasher = hasher;
    this.#group = group;
    this.#options = options;
  }

  /** `data` must stay as it is until this resolves, and for as long as the chunk is used when it is stored raw. */
  async make(disk: DiskName, offsetBytes: number, data: Uint8Array): Promise<StoredChunk> {
    const [list, compressed] = await Promise.all([
      this.#hasher.list(offsetBytes, data),
      this.#compress(disk, data),
    ]);
    return {
      offsetBytes,
      lengthBytes: data.length,
      codec: compressed === null ? "raw" : "zstd",
      list,
      payload: compressed ?? data,
    };
  }

  async #compress(disk: DiskName, data: Uint8Array): Promise<Uint8Array | null> {
    if (this.#options.codecOf(disk, this.#group) !== "zstd") return null;
    const trial = this.#trials.get(disk) ?? new CompressionTrial();
    this.#trials.set(disk, trial);
    if (!trial.shouldTry()) return null;
    const { usesThreads } = this.#options;
    const payload = await encodeZstdPayload(data, { usesThreads });
    trial.tell({ isSmaller: payload !== null });
    return payload;
  }
}

/** The parts of a chunk frame's body. */
export function chunkBody(disk: DiskIdentity, chunk: StoredChunk): readonly Uint8Array[] {
  const { offsetBytes, lengthBytes, codec, list, payload } = chunk;
  return [encodeChunkHeader({ disk, offsetBytes, lengthBytes, codec }), list, payload];
}
