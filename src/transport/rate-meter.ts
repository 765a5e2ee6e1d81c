/** A measurement while there is always more to send takes so long at least. */
const sampleMsMin = 250;
/** Weight of the newest measurement. */
const newestShare = 0.3;
/** A burst shorter than this says nothing about a rate. */
const burstBytesMin = 1024 * 1024;
const burstMsMin = 20;

/** Slower than this no link is taken to be: how long to wait for what is under way before a rate was measured. */
const slowestBytesPerSecond = 64 * 1024;
/** Up to here a link is slow. */
const slowBytesPerSecond = 1024 * 1024;

/** How fast chunks arrive and are acknowledged, measured while there is more to send. */
export class RateMeter {
  #bytesPerSecond: number | null = null;
  #startedAtMs: number | null = null;
  #bytes = 0;

  get bytesPerSecond(): number | null {
    return this.#bytesPerSecond;
  }

  /** So it is too before a rate was measured. */
  get isSlow(): boolean {
    return (this.#bytesPerSecond ?? 0) < slowBytesPerSecond;
  }

  /** How long so many bytes may take, at half the rate that was measured. */
  slownessMs(bytes: number): number {
    const rate = Math.max(slowestBytesPerSecond, (this.#bytesPerSecond ?? 0) / 2);
    return (bytes / rate) * 1000;
  }

  /** Something is under way from now on. */
  busy(nowMs: number): void {
    if (this.#startedAtMs !== null) return;
    this.#startedAtMs = nowMs;
    this.#bytes = 0;
  }

  /** So much was acknowledged; `isIdle` when nothing more is under way. */
  acknowledged(nowMs: number, bytes: number, isIdle: boolean): void {
    if (this.#startedAtMs === null) return;
    this.#bytes += bytes;
    const elapsedMs = nowMs - this.#startedAtMs;
    if (elapsedMs >= sampleMsMin) {
      this.#learn((this.#bytes / elapsedMs) * 1000);
      this.#startedAtMs = nowMs;
      this.#bytes = 0;
    } else if (isIdle && this.#bytes >= burstBytesMin && elapsedMs >= burstMsMin) {
      // Its round trip is part of the burst, so it can only be faster than it looks.
      const atLeast = (this.#bytes / elapsedMs) * 1000;
      if (atLeast > (this.#bytesPerSecond ?? 0)) this.#bytesPerSecond = atLeast;
    }
    if (isIdle) this.#startedAtMs = null;
  }

  /** What was known does not hold any more: what should have come at that rate did not. */
  forget(): void {
    this.#bytesPerSecond = null;
    this.#startedAtMs = null;
  }

  /** The link was down; what is known of it stays, what was being measured does not. */
  interrupt(): void {
    this.#startedAtMs = null;
  }

  #learn(bytesPerSecond: number): void {
    const before = this.#bytesPerSecond;
    this.#bytesPerSecond =
      before === null ? bytesPerSecond : before + (bytesPerSecond - before) * newestShare;
  }
}
