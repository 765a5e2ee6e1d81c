import type { Clock } from "../base/clock.ts";
import type { GroupName } from "../core/ids.ts";
import type { LinkCaps } from "./link.ts";
import type { Outgoing } from "./outgoing.ts";
import { TokenBucket } from "./token-bucket.ts";

/** What a group may send at its turn, in bytes. */
const quantumBytes = 1024 * 1024;

interface GroupQueue {
  readonly requests: Outgoing[];
  readonly bucket: TokenBucket;
  deficitBytes: number;
  waitingBytes: number;
}

/**
 * Chunks that wait, by group: served in turns by deficit round robin (Shreedhar and Varghese, 1995), so that a group with long
 * chunks gets no more than one with short ones, each within its cap and all within the link's.
 */
export class FairQueue {
  readonly #clock: Clock;
  readonly #link: TokenBucket;
  readonly #groups = new Map<GroupName, GroupQueue>();
  /** Groups that have something waiting, next first. */
  readonly #ring: GroupQueue[] = [];
  #waitMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#link = new TokenBucket(clock);
  }

  setCaps(caps: LinkCaps): void {
    this.#link.setRate(caps.link);
    for (const [group, queue] of this.#groups) queue.bucket.setRate(caps.groups.get(group) ?? null);
    for (const [group, rate] of caps.groups) this.#queueOf(group).bucket.setRate(rate);
  }

  push(request: Outgoing): void {
    this.#add(request, (queue) => queue.requests.push(request));
  }

  /** Goes before everything else of its group: it was sent before and has to be sent again. */
  pushFirst(request: Outgoing): void {
    this.#add(request, (queue) => queue.requests.unshift(request));
  }

  /** The next request that `mayGo` and the caps allow; it counts as sent. */
  take(mayGo: (request: Outgoing) => boolean): Outgoing | null {
    this.#waitMs = this.#link.waitMs();
    if (this.#waitMs > 0) return null;
    let waitMs = Number.POSITIVE_INFINITY;
    // Two rounds: in the first every group may be given what its first request needs.
    for (let turns = this.#ring.length * 2; turns > 0 && this.#ring.length > 0; turns -= 1) {
      const queue = this.#ring[0]!;
      const request = queue.requests[0]!;
      const queueWaitMs = queue.bucket.waitMs();
      if (queueWaitMs > 0) waitMs = Math.min(waitMs, queueWaitMs);
      if (queueWaitMs > 0 || !mayGo(request)) {
        this.#turn();
        continue;
      }
      if (queue.deficitBytes < request.lengthBytes) {
        queue.deficitBytes += quantumBytes;
        if (queue.deficitBytes < request.lengthBytes) {
          this.#turn();
          continue;
        }
      }
      this.#serve(queue, request);
      return request;
    }
    this.#waitMs = waitMs;
    return null;
  }

  /** After `take` gave nothing: how long until a cap allows more; infinite when no cap is in the way. */
  get waitMs(): number {
    return this.#waitMs;
  }

  /** What is sent beside the queue counts, and waits for nothing. */
  spend(group: GroupName, bytes: number): void {
    this.#link.spend(bytes);
    this.#groups.get(group)?.bucket.spend(bytes);
  }

  waitingBytes(group: GroupName): number {
    return this.#groups.get(group)?.waitingBytes ?? 0;
  }

  get isEmpty(): boolean {
    return this.#ring.length === 0;
  }

  /** Takes out what matches, in order. */
  remove(matches: (request: Outgoing) => boolean): readonly Outgoing[] {
    const removed: Outgoing[] = [];
    for (const queue of [...this.#ring]) {
      const all = queue.requests.splice(0);
      for (const request of all) {
        if (!matches(request)) {
          queue.requests.push(request);
          continue;
        }
        queue.waitingBytes -= request.lengthBytes;
        removed.push(request);
      }
      if (queue.requests.length === 0) this.#leaveRing(queue);
    }
    return removed;
  }

  #add(request: Outgoing, put: (queue: GroupQueue) => void): void {
    const queue = this.#queueOf(request.group);
    if (queue.requests.length === 0) this.#ring.push(queue);
    put(queue);
    queue.waitingBytes += request.lengthBytes;
  }

  #serve(queue: GroupQueue, request: Outgoing): void {
    queue.requests.shift();
    queue.waitingBytes -= request.lengthBytes;
    queue.deficitBytes -= request.lengthBytes;
    queue.bucket.spend(request.lengthBytes);
    this.#link.spend(request.lengthBytes);
    const next = queue.requests[0];
    if (next === undefined) this.#leaveRing(queue);
    else if (queue.deficitBytes < next.lengthBytes) this.#turn();
  }

  #turn(): void {
    const first = this.#ring.shift();
    if (first !== undefined) this.#ring.push(first);
  }

  #leaveRing(queue: GroupQueue): void {
    queue.deficitBytes = 0;
    const at = this.#ring.indexOf(queue);
    if (at >= 0) this.#ring.splice(at, 1);
  }

  #queueOf(group: GroupName): GroupQueue {
    const found = this.#groups.get(group);
    if (found !== undefined) return found;
    const bucket = new TokenBucket(this.#clock);
    const made = { requests: [], bucket, deficitBytes: 0, waitingBytes: 0 };
    this.#groups.set(group, made);
    return made;
  }
}
