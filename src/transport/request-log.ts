import type { RequestRange } from "../format/wire-control.ts";
import { type FrameType, wireFault } from "../format/wire-frame.ts";

/** Gaps among the confirmed requests of a session; an honest one has no more than requests outstanding. */
const rangesMax = 8192;

/** What was answered, kept until the sender confirms that it has it. */
export interface KeptAnswer {
  readonly type: Extract<FrameType, "answer" | "answerBytes" | "fault">;
  readonly stream: number;
  readonly body: Uint8Array;
}

/**
 * Which requests of a session were taken, and the answers that may be asked for again.
 *
 *   unknown ──taken──▶ under way ──answered──▶ kept ──confirmed, or below the watermark──▶ forgotten, never taken again
 */
export class RequestLog {
  readonly #underWay = new Set<number>();
  readonly #answers = new Map<number, KeptAnswer>();
  /** Confirmed above the watermark: sorted, apart. */
  #confirmed: RequestRange[] = [];
  #watermark = 1;
  #answersBytes = 0;

  get underWayCount(): number {
    return this.#underWay.size;
  }

  /** Answers not confirmed. */
  get answersCount(): number {
    return this.#answers.size;
  }

  get answersBytes(): number {
    return this.#answersBytes;
  }

  /** Takes a request to execute it; false when it was taken before. */
  take(request: number): boolean {
    if (this.#isKnown(request)) return false;
    this.#underWay.add(request);
    return true;
  }

  answered(request: number, answer: KeptAnswer): void {
    this.#underWay.delete(request);
    this.#answers.set(request, answer);
    this.#answersBytes += answer.body.length;
  }

  answer(request: number): KeptAnswer | null {
    return this.#answers.get(request) ?? null;
  }

  /** Whether the sender need not send it again: its answer is here or will be. */
  has(request: number): boolean {
    return this.#isKnown(request);
  }

  /** The sender has the answers to all requests below. */
  advance(watermark: number): void {
    if (watermark <= this.#watermark) return;
    this.#watermark = watermark;
    for (const request of this.#answers.keys()) if (request < watermark) this.#forget(request);
    this.#confirmed = this.#confirmed.filter(({ to }) => to > watermark);
  }

  /** The sender has the answers to these. LINK_PROTOCOL when it leaves too many gaps. */
  confirm(ranges: readonly RequestRange[]): void {
    const sorted = [...this.#confirmed, ...ranges].sort((left, right) => left.from - right.from);
    const joined: RequestRange[] = [];
    for (const range of sorted) {
      if (range.to <= this.#watermark) continue;
      const last = joined.at(-1);
      if (last === undefined || range.from > last.to) joined.push(range);
      else if (range.to > last.to) joined[joined.length - 1] = { from: last.from, to: range.to };
    }
    if (joined.length > rangesMax) throw wireFault("too many gaps among the requests");
    this.#confirmed = joined;
    for (const request of [...this.#answers.keys()]) {
      if (request < this.#watermark || this.#isConfirmed(request)) this.#forget(request);
    }
  }

  #forget(request: number): void {
    this.#answersBytes -= this.#answers.get(request)?.body.length ?? 0;
    this.#answers.delete(request);
  }

  #isKnown(request: number): boolean {
    if (request < this.#watermark) return true;
    if (this.#underWay.has(request) || this.#answers.has(request)) return true;
    return this.#isConfirmed(request);
  }

  /** Halves what is left: a peer with thousands of gaps must not cost the others the vault's time. */
  #isConfirmed(request: number): boolean {
    let [low, high] = [0, this.#confirmed.length];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#confirmed[middle]!.to <= request) low = middle + 1;
      else high = middle;
    }
    return low < this.#confirmed.length && this.#confirmed[low]!.from <= request;
  }
}
