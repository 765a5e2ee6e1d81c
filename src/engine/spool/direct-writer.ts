import type { Clock } from "../../base/clock.ts";
import { Fault } from "../../base/fault.ts";
import { MIB } from "../../base/units.ts";
import type { DiskIdentity } from "../../core/ids.ts";
import type {
  PointWriter,
  Sealing,
  StagedDisk,
  StageRequest,
  StoredChunk,
} from "../../core/journal.ts";
import type { Point } from "../../core/point.ts";
import type { RoutedWriter } from "../cycle-intake.ts";
import { within } from "./bounded.ts";
import { LazyStagedDisk, requestOf } from "./lazy-staged-disk.ts";

/** A point in time lives at most so much longer than reading it takes, because of the link, before it is diverted. */
export const directHoldMsMax = 1_500;
const lookEveryMs = 250;
/** So many writes waiting for the link mean that it, and not the source, is what we wait for. */
const waitingForLinkMin = 8;
/** What sealing may take besides, for each byte: the vault's medium, slow. */
const sealBytesPerMs = (50 * MIB) / 1000;

/**
 * A point on its way to the vault at once, under watch: LINK_STALLED as soon as nothing was taken for `directHoldMsMax`, or when
 * waiting for the link has taken so much longer than a local read would have.
 *
 *   writing ──seal──▶ sealing ──answer──▶ sealed
 *      │                 └─ link fault: nobody knows
 *      └─ link fault: given up at the vault; the same point is written again, elsewhere
 */
export class DirectWriter implements RoutedWriter {
  readonly route = "direct";
  readonly #inner: PointWriter;
  readonly #clock: Clock;
  readonly #readBytesPerMs: number;
  readonly #onAdopted: (request: StageRequest) => void;
  readonly #seal: (writing: () => Promise<Point>) => Promise<Point>;
  readonly #onDisposed: (disposing: Promise<void>) => void;
  readonly #over = new AbortController();
  readonly #stalled = Promise.withResolvers<never>();
  #waiting = 0;
  /** Runs of zeroes that wait: they cost a local read nothing, and go one after the other. */
  #zeroesWaiting = 0;
  #progressAtMs = 0;
  #heldMs = 0;
  #writtenBytes = 0;
  #isDisposed = false;

  constructor(options: {
    inner: PointWriter;
    clock: Clock;
    /** How fast the source can be read. */
    readBytesPerSecond: number;
    /** A sync that the vault takes over with the point. */
    onAdopted: (request: StageRequest) => void;
    /** Keeps the books around the vault's seal. */
    seal: (writing: () => Promise<Point>) => Promise<Point>;
    /** The vault must not be asked for the next point before this has ended. */
    onDisposed: (disposing: Promise<void>) => void;
  }) {
    this.#inner = options.inner;
    this.#clock = options.clock;
    this.#readBytesPerMs = options.readBytesPerSecond / 1000;
    this.#onAdopted = options.onAdopted;
    this.#seal = options.seal;
    this.#onDisposed = options.onDisposed;
    this.#stalled.promise.catch(() => {}); // Told to whoever waits.
    void this.#watch();
  }

  write(disk: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#writtenBytes += data.length;
    return this.#watched(() => this.#inner.write(disk, offsetBytes, data));
  }

  zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#zeroesWaiting += 1;
    const zeroing = this.#watched(() => this.#inner.zero(disk, offsetBytes, lengthBytes));
    return zeroing.finally(() => {
      this.#zeroesWaiting -= 1;
    });
  }

  writeStored(disk: DiskIdentity, chunk: StoredChunk): Promise<void> {
    this.#writtenBytes += chunk.payload.length;
    return this.#watched(() => this.#inner.writeStored(disk, chunk));
  }

  /** Unbounded: the point in time was released before, and joining staged parts takes the vault its time. */
  async adopt(staged: StagedDisk): Promise<void> {
    this.#over.abort();
    this.#onAdopted(requestOf(staged.status));
    // The vault's own parts, and not what stands for them here.
    await this.#inner.adopt(staged instanceof LazyStagedDisk ? await staged.opened() : staged);
  }

  seal(sealing: Sealing): Promise<Point> {
    const isAdopting = this.#over.signal.aborted;
    this.#over.abort();
    const boundMs = directHoldMsMax + this.#writtenBytes / sealBytesPerMs;
    return this.#seal(() => {
      const answer = this.#inner.seal(sealing);
      return isAdopting ? answer : within(boundMs, "sealing a point", this.#clock, answer);
    });
  }

  /** Resolves at once: a link that hangs must not hold the snapshot. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#over.abort();
    this.#onDisposed(Promise.resolve(this.#inner[Symbol.asyncDispose]()));
  }

  async #watched<Value>(call: () => Promise<Value>): Promise<Value> {
    if (this.#waiting === 0) this.#progressAtMs = this.#clock.monotonicMs();
    this.#waiting += 1;
    try {
      const work = call();
      work.catch(() => {}); // After a stall nobody waits for it.
      return await Promise.race([work, this.#stalled.promise]);
    } finally {
      this.#waiting -= 1;
      this.#progressAtMs = this.#clock.monotonicMs();
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      const startedAtMs = this.#clock.monotonicMs();
      await this.#clock.sleep(lookEveryMs, { signal }).catch(() => {});
      if (signal.aborted) return;
      const nowMs = this.#clock.monotonicMs();
      const isHeld = this.#waiting >= waitingForLinkMin || this.#zeroesWaiting > 0;
      if (isHeld) this.#heldMs += nowMs - startedAtMs;
      const allowedMs = directHoldMsMax + this.#writtenBytes / this.#readBytesPerMs;
      const isStuck = this.#waiting > 0 && nowMs - this.#progressAtMs >= directHoldMsMax;
      if (!isStuck && this.#heldMs <= allowedMs) continue;
      const message = isStuck
        ? `The link took nothing for ${Math.round(nowMs - this.#progressAtMs)} ms.`
        : `The link took ${Math.round(this.#heldMs)} ms for what a local read takes less than that.`;
      this.#stalled.reject(
        new Fault("LINK_STALLED", message, { heldMs: Math.round(this.#heldMs) }),
      );
      return;
    }
  }
}
