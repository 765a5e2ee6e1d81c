import assert from "node:assert/strict";
import type { Prng } from "../src/base/prng.ts";
import { sectorSizeBytes } from "../src/core/limits.ts";
import { happens } from "./chance.ts";
import { GrowingBytes } from "./growing-bytes.ts";

/** A change that is in the cache and perhaps not yet on the medium. */
type Change =
  | { readonly kind: "write"; readonly positionBytes: number; readonly data: Uint8Array }
  | { readonly kind: "punch"; readonly positionBytes: number; readonly lengthBytes: number }
  | { readonly kind: "truncate"; readonly sizeBytes: number };

/** How a crash treats what was not synced. */
export interface CrashSeverity {
  /** Part of the unsynced changes that reach the medium all the same, 0 to 1. */
  readonly survivalRate: number;
  /** Part of the surviving writes that are torn at sector boundaries, 0 to 1. */
  readonly tearRate: number;
}

/** A file's bytes, as its readers see them and as the medium has them. */
export class StoredContent {
  #seen = new GrowingBytes();
  #medium = new GrowingBytes();
  #unsynced: Change[] = [];
  /** Readers see what will never be on the medium. */
  #differs = false;

  get sizeBytes(): number {
    return this.#seen.sizeBytes;
  }

  /** Holes are not counted out: a file is as large as it is long. */
  get allocatedBytes(): number {
    return this.#seen.sizeBytes;
  }

  get isSynced(): boolean {
    return this.#unsynced.length === 0;
  }

  read(into: Uint8Array, positionBytes: number): number {
    return this.#seen.read(into, positionBytes);
  }

  write(from: Uint8Array, positionBytes: number): void {
    this.#change({ kind: "write", positionBytes, data: from.slice() });
  }

  punch(positionBytes: number, lengthBytes: number): void {
    this.#change({ kind: "punch", positionBytes, lengthBytes });
  }

  truncate(sizeBytes: number): void {
    this.#change({ kind: "truncate", sizeBytes });
  }

  sync(): void {
    for (const change of this.#unsynced) apply(this.#medium, change);
    this.#unsynced = [];
  }

  /**
   * A sync that failed: as on Linux, each unsynced change is from now on either on the medium or never will be, whatever is
   * synced later, while readers go on seeing all of them.
   */
  failSync(prng: Prng): void {
    for (const change of this.#unsynced) if (happens(prng, 0.5)) apply(this.#medium, change);
    this.#unsynced = [];
    this.#differs = true;
  }

  /** Power is cut: of the unsynced changes any part may have reached the medium, and that is what there is now. */
  crash(prng: Prng, severity: CrashSeverity): void {
    if (this.#unsynced.length === 0 && !this.#differs) return;
    for (const change of this.#unsynced) {
      if (!happens(prng, severity.survivalRate)) continue;
      if (change.kind === "write" && happens(prng, severity.tearRate))
        tear(this.#medium, change, prng);
      else apply(this.#medium, change);
    }
    this.#unsynced = [];
    this.#differs = false;
    this.#seen = this.#medium.copy();
  }

  /** Flips a bit at rest. */
  rot(positionBytes: number, bit: number): void {
    assert(positionBytes < this.#seen.sizeBytes);
    for (const bytes of [this.#seen, this.#medium]) {
      const byte = new Uint8Array(1);
      if (bytes.read(byte, positionBytes) === 0) continue;
      byte[0] = (byte[0] ?? 0) ^ (1 << bit);
      bytes.write(byte, positionBytes);
    }
  }

  #change(change: Change): void {
    this.#unsynced.push(change);
    apply(this.#seen, change);
  }
}

function apply(bytes: GrowingBytes, change: Change): void {
  if (change.kind === "write") bytes.write(change.data, change.positionBytes);
  else if (change.kind === "punch") bytes.punch(change.positionBytes, change.lengthBytes);
  else bytes.truncate(change.sizeBytes);
}

/** Some sectors of a write arrive: either those of a prefix, or any. */
function tear(
  bytes: GrowingBytes,
  change: { readonly positionBytes: number; readonly data: Uint8Array },
  prng: Prng,
): void {
  const endBytes = change.positionBytes + change.data.length;
  const cutBytes = happens(prng, 0.5)
    ? change.positionBytes + prng.below(change.data.length)
    : null;
  for (let at = change.positionBytes; at < endBytes; ) {
    const nextSector = (Math.floor(at / sectorSizeBytes) + 1) * sectorSizeBytes;
    const untilBytes = Math.min(endBytes, nextSector);
    const arrives = cutBytes === null ? happens(prng, 0.5) : untilBytes <= cutBytes;
    if (arrives) {
      const start = at - change.positionBytes;
      bytes.write(change.data.subarray(start, start + untilBytes - at), at);
    }
    at = untilBytes;
  }
}
