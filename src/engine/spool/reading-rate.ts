import { MIB } from "../../base/units.ts";

/** Until it was measured: how fast a source can be read... */
const assumedBytesPerSecond = 200 * MIB;
/** ...which is learned from points of at least this size. */
const learnFromBytes = 16 * MIB;

/** How fast a source can be read, as points that were cut into the spool taught. */
export class ReadingRate {
  #bytesPerSecond = assumedBytesPerSecond;

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  learn(bytes: number, durationMs: number): void {
    if (bytes < learnFromBytes || durationMs <= 0) return;
    const rate = bytes / (durationMs / 1000);
    this.#bytesPerSecond += (rate - this.#bytesPerSecond) / 4;
  }
}
