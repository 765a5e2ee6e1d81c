import { contentOf, type GuestOperation, newestNumber } from "./shadow-writer.ts";

/** So many operations in a row may leave no trace. */
const unseenMax = 8;

/** What a point says of the moment it was taken, in milliseconds on the guest's host; null where clocks were made to lie. */
export interface PointMoment {
  readonly lowerMs: number;
  readonly upperMs: number;
}

/** The disks as the guest's operations left them, moved forward as points are checked in their order. */
export class ShadowCopy {
  readonly #operations: readonly GuestOperation[];
  readonly #disks: readonly Buffer[];
  #applied = 0;

  constructor(operations: readonly GuestOperation[], sizesBytes: readonly number[]) {
    this.#operations = operations;
    this.#disks = sizesBytes.map((sizeBytes) => Buffer.alloc(sizeBytes));
  }

  /**
   * Why the content of a point is not exactly what the guest's first k operations made, for a k that fits the point's moment;
   * null when it is. Points come oldest first.
   */
  trouble(disks: readonly Buffer[], moment: PointMoment | null): string | null {
    const newest = newestNumber(disks);
    if (newest > this.#operations.length) return `operation ${newest} was never done`;
    if (newest < this.#applied && !this.#isZeroedSince(newest)) {
      return `it shows operations up to ${newest}, the point before it up to ${this.#applied}`;
    }
    while (this.#applied < newest) this.#applyNext();
    // Zeroes bear no number, nor does a write that they cover whole: the truth may lie a few operations further.
    const first = this.#difference(disks);
    if (first === null) return this.#lateness(moment);
    const shown = `after operation ${this.#applied} ${first}`;
    for (let further = 0; further < unseenMax; further += 1) {
      if (this.#operations[this.#applied] === undefined) return shown;
      this.#applyNext();
      if (this.#difference(disks) === null) return this.#lateness(moment);
    }
    return shown;
  }

  /** How many operations the last point that was checked shows. */
  get applied(): number {
    return this.#applied;
  }

  /** Whether what was written after `number` is all zeroes again by now. */
  #isZeroedSince(number: number): boolean {
    return newestNumber(this.#disks) <= number;
  }

  #applyNext(): void {
    const operation = this.#operations[this.#applied]!;
    this.#disks[operation.disk]!.set(contentOf(operation), operation.offsetBytes);
    this.#applied += 1;
  }

  #difference(disks: readonly Buffer[]): string | null {
    for (const [index, expected] of this.#disks.entries()) {
      const held = disks[index];
      if (held === undefined) return `disk ${index} is not there`;
      if (held.length !== expected.length) return `disk ${index} has ${held.length} bytes`;
      if (held.equals(expected)) continue;
      const at = held.findIndex((byte, offset) => byte !== expected[offset]);
      const sector = Math.floor(at / 512) * 512;
      const [has, should] = [held, expected].map((disk) => disk.readBigUInt64LE(sector));
      return `disk ${index} differs at ${at}: of operation ${has} instead of ${should}`;
    }
    return null;
  }

  /** The last one shown must have begun before the point's upper bound, the next not been answered before the lower one. */
  #lateness(moment: PointMoment | null): string | null {
    if (moment === null) return null;
    const last = this.#operations[this.#applied - 1];
    if (last !== undefined && last.issuedAtMs > moment.upperMs + 1) {
      return `it shows operation ${last.number}, begun ${last.issuedAtMs - moment.upperMs} ms after it`;
    }
    const next = this.#nextWrite();
    if (next?.answeredAtMs && next.answeredAtMs < moment.lowerMs - 1) {
      return `it lacks operation ${next.number}, answered ${moment.lowerMs - next.answeredAtMs} ms before it`;
    }
    return null;
  }

  /** Zeroes over zeroes cannot be seen. */
  #nextWrite(): GuestOperation | undefined {
    for (let index = this.#applied; index < this.#operations.length; index += 1) {
      const operation = this.#operations[index]!;
      if (operation.kind === "write") return operation;
    }
    return undefined;
  }
}
