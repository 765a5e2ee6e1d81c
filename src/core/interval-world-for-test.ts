import type { Prng } from "../base/prng.ts";
import { IntervalController } from "./interval-controller.ts";
import type { IntervalGoal } from "./interval-plan.ts";

/** Writes that draw blocks evenly from a set: those drawn again change nothing anew. */
export interface Load {
  readonly setBytes: number;
  readonly bytesPerSecondAt: (atMs: number) => number;
}

/** What a simulated group and link are; bytes go over the link as they are. */
export interface World {
  readonly loads: readonly Load[];
  readonly fixedMs: number;
  readonly readBytesPerSecond: number;
  readonly linkBytesPerSecond: number;
  /** Whether the next point may be read while one is shipped. */
  readonly isPipelined: boolean;
  readonly pollMs: number;
}

/** What a simulated run came to. */
export interface Realised {
  /** Just before each seal, after the warm-up, sorted. */
  readonly rposMs: readonly number[];
  readonly sentBytes: number;
  readonly changes: readonly string[];
  readonly controller: IntervalController;
  /** Seen at each poll after the warm-up: whether the target was said to be held. */
  readonly heldShare: number;
}

const stepMs = 20;

interface RunWorldOptions {
  readonly world: World;
  readonly goal: IntervalGoal;
  readonly forMs: number;
  readonly warmUpMs: number;
  readonly prng: Prng;
  /** Told to the controller; null leaves it to find out. */
  readonly knownLink?: number | null;
}

/** Runs a controller against a load. Deterministic for one prng. */
export function runWorld(options: RunWorldOptions): Realised {
  const { world, goal, forMs, warmUpMs, prng } = options;
  const controller = new IntervalController(goal);
  controller.setLink(options.knownLink ?? null);
  const gathering = new Gathering(world.loads, prng);
  const rposMs: number[] = [];
  const changes: string[] = [];
  let sentBytes = 0;
  let lastInstantMs = 0;
  let linkFreeAtMs = 0;
  let readyAtMs = 0;
  let polls = 0;
  let held = 0;
  let before = { atMs: 0, dirtyBytes: 0 };
  while (gathering.atMs < forMs) {
    const nowMs = gathering.atMs;
    const dirtyBytes = gathering.dirtyBytes;
    const elapsedMs = nowMs - lastInstantMs;
    controller.observeCount({ elapsedMs, dirtyBytes, nowMs });
    const passedMs = nowMs - before.atMs;
    const grown = passedMs > 0 && dirtyBytes >= before.dirtyBytes;
    const dirtyBytesPerMs = grown ? (dirtyBytes - before.dirtyBytes) / passedMs : 0;
    before = { atMs: nowMs, dirtyBytes };
    const dueMs = lastInstantMs + controller.dueAfterMs({ elapsedMs, dirtyBytes, dirtyBytesPerMs });
    if (nowMs > warmUpMs) {
      polls += 1;
      held += controller.decision.isHeld ? 1 : 0;
    }
    const startMs = Math.max(nowMs, dueMs, readyAtMs);
    if (startMs > nowMs + world.pollMs) {
      gathering.goTo(nowMs + world.pollMs);
      continue;
    }
    gathering.goTo(startMs);
    const bytes = gathering.take();
    const { readEndMs, sealMs } = courseOf(world, bytes, startMs, linkFreeAtMs);
    linkFreeAtMs = sealMs;
    readyAtMs = readEndMs;
    const intervalMs = startMs - lastInstantMs;
    if (startMs > warmUpMs) rposMs.push(sealMs - lastInstantMs);
    sentBytes += bytes;
    lastInstantMs = startMs;
    before = { atMs: startMs, dirtyBytes: 0 };
    const cycle = {
      intervalMs,
      lagMs: sealMs - startMs,
      busyMs: readEndMs - startMs,
      dirtyBytes: bytes,
      sentBytes: bytes,
    };
    // The seal of a shipped point is heard of later than its reading ended; here it is told at once, which is no worse.
    gathering.goTo(readEndMs);
    const reasonBefore = controller.decision.reason;
    controller.observeCycle(cycle, gathering.atMs);
    if (controller.decision.reason !== reasonBefore) changes.push(controller.decision.reason);
  }
  rposMs.sort((a, b) => a - b);
  return {
    rposMs,
    sentBytes,
    changes,
    controller,
    heldShare: polls === 0 ? Number(controller.decision.isHeld) : held / polls,
  };
}

/** When a point's reading ends, and when it is sealed. */
function courseOf(world: World, bytes: number, startMs: number, linkFreeAtMs: number) {
  const { fixedMs, isPipelined } = world;
  const readMs = startMs + fixedMs + (bytes / world.readBytesPerSecond) * 1000;
  const shipMs = (bytes / world.linkBytesPerSecond) * 1000;
  if (!isPipelined) {
    const endMs = Math.max(readMs, startMs + fixedMs + shipMs);
    return { readEndMs: endMs, sealMs: endMs };
  }
  const shippedMs = Math.max(startMs + fixedMs, linkFreeAtMs) + shipMs;
  return { readEndMs: readMs, sealMs: Math.max(readMs, shippedMs) };
}

/** The value that all but a hundredth do not exceed; infinite when there is none: nothing was sealed any more. */
export function p99(sorted: readonly number[]): number {
  return (
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ??
    Number.POSITIVE_INFINITY
  );
}

/** What has changed since it was last taken. */
class Gathering {
  atMs = 0;
  readonly #loads: readonly Load[];
  readonly #prng: Prng;
  #dirty: number[];

  constructor(loads: readonly Load[], prng: Prng) {
    this.#loads = loads;
    this.#prng = prng;
    this.#dirty = loads.map(() => 0);
  }

  get dirtyBytes(): number {
    return this.#dirty.reduce((sum, bytes) => sum + bytes, 0);
  }

  goTo(atMs: number): void {
    while (this.atMs < atMs) {
      const forMs = Math.min(stepMs, atMs - this.atMs);
      for (const [index, { setBytes, bytesPerSecondAt }] of this.#loads.entries()) {
        const noise = 0.7 + this.#prng.below(600) / 1000;
        const written = (bytesPerSecondAt(this.atMs) * noise * forMs) / 1000;
        const dirty = this.#dirty[index] ?? 0;
        this.#dirty[index] = setBytes - (setBytes - dirty) * Math.exp(-written / setBytes);
      }
      this.atMs += forMs;
    }
  }

  take(): number {
    const bytes = this.dirtyBytes;
    this.#dirty = this.#loads.map(() => 0);
    return bytes;
  }
}
