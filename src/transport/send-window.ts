import { MIB } from "../base/units.ts";
import type { Grant } from "../format/wire-hello.ts";

/** What a vault needs to hash and write a chunk, at most, as part of the delay that the window has to cover. */
const vaultWorkMs = 30;
/** Twice what bandwidth x delay needs, so that it can be seen to grow. */
const headroom = 2;
/** Of what is free a stream may have so many times as much as it leaves (Choudhury and Hahne, 1998): one that is stuck keeps
 * a part, never all. */
const streamShare = 3;

/**
 * How many bytes of chunks may be unanswered: twice the measured rate times the round trip, at least what it began with, at
 * most what the vault grants.
 */
export class SendWindow {
  readonly #bytesMin: number;
  #grant: Grant = { sessionBytes: 2 * MIB, streamBytes: 2 * MIB };
  #bytes: number;
  outstandingBytes = 0;

  constructor(bytesMin: number) {
    this.#bytesMin = bytesMin;
    this.#bytes = bytesMin;
  }

  setGrant(grant: Grant): void {
    this.#grant = grant;
  }

  /** Follows what was measured last. */
  adapt(bytesPerSecond: number | null, roundTripMs: number | null): void {
    if (bytesPerSecond === null || roundTripMs === null) return;
    const delaySeconds = (roundTripMs + vaultWorkMs) / 1000;
    this.#bytes = Math.max(this.#bytesMin, headroom * bytesPerSecond * delaySeconds);
  }

  /** In force now. */
  get bytes(): number {
    return Math.min(this.#bytes, this.#grant.sessionBytes);
  }

  /** Whether a frame of that length may go. The grant is never exceeded; the window holds at least one frame. */
  mayGo(lengthBytes: number, streamOutstandingBytes: number): boolean {
    const { outstandingBytes } = this;
    if (outstandingBytes === 0) return true;
    if (outstandingBytes + lengthBytes > this.bytes) return false;
    if (streamOutstandingBytes === 0) return true;
    if (streamOutstandingBytes + lengthBytes > this.#grant.streamBytes) return false;
    return streamOutstandingBytes + lengthBytes <= streamShare * (this.bytes - outstandingBytes);
  }
}
