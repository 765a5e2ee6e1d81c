import { systemClock } from "../../src/base/clock.ts";
import { type Prng, seededPrng } from "../../src/base/prng.ts";
import { MIB } from "../../src/base/units.ts";
import { CheckedPoints } from "./checked-points.ts";
import { ShadowWriter } from "./shadow-writer.ts";
import type { LogLine } from "./site-process.ts";
import { type Sites, type SitesOptions, sites } from "./sites.ts";

const clock = systemClock();
const settleTimeoutMs = 60_000;
const lookEveryMs = 200;
const writerPauseMs = 8;

/** Disks of the guest of a trial. */
export const trialDisks = [
  { name: "data", sizeBytes: 24 * MIB },
  { name: "wal", sizeBytes: 2 * MIB + 512 },
] as const;

/** What the replicator says when it cut a point, directly or into the spool. */
export const isCut = ({ msg }: LogLine): boolean => msg === "A point was sealed.";
/** What the replicator says when a point left the spool. */
export const isShipped = ({ msg }: LogLine): boolean =>
  msg === "A point that had waited is at the vault.";

/** How a trial is begun. */
export interface TrialOptions extends Partial<SitesOptions> {
  readonly seed: number;
  readonly beforeStart?: (sites: Sites) => Promise<void>;
}

/** What a fault must not do. */
export interface Harm {
  /** Points whose content is not what the guest had at their instant, or that do not follow each other. */
  readonly wrong: readonly string[];
  /** Points that were cut and did not come to the vault. */
  readonly lost: readonly string[];
  /** Disks that were read whole, and why. */
  readonly resyncs: readonly string[];
}

/** After a fault that no promise exempts. */
export const noHarm: Harm = { wrong: [], lost: [], resyncs: [] };

/** A guest that never stops writing, two sites that replicate it, and the truth to compare with. */
export class Trial implements AsyncDisposable {
  readonly sites: Sites;
  readonly writer: ShadowWriter;
  readonly points: CheckedPoints;
  readonly prng: Prng;
  readonly #owned: AsyncDisposableStack;
  /** Points up to here were there when the last `settle` ended. */
  #settledAt = 0;

  /** Use `begin`. */
  private constructor(parts: {
    sites: Sites;
    writer: ShadowWriter;
    prng: Prng;
    owned: AsyncDisposableStack;
  }) {
    this.sites = parts.sites;
    this.writer = parts.writer;
    this.prng = parts.prng;
    this.points = new CheckedPoints(parts.sites, parts.writer);
    this.#owned = parts.owned;
  }

  /** Starts everything and resolves when the first points are at the vault and right. The seed is printed. */
  static async begin(options: TrialOptions): Promise<Trial> {
    console.error(`two sites, seed ${options.seed}`);
    const prng = seededPrng(options.seed);
    await using opening = new AsyncDisposableStack();
    const world = opening.use(await sites({ disks: trialDisks, ...options }));
    const disks = trialDisks.map(({ name, sizeBytes }) => {
      const client = world.guest.disk(name);
      return {
        name,
        sizeBytes,
        write: (offsetBytes: number, data: Uint8Array) => client.write(offsetBytes, data),
        zero: (offsetBytes: number, lengthBytes: number) => client.zero(offsetBytes, lengthBytes),
      };
    });
    const writer = opening.use(new ShadowWriter({ disks, clock, prng, pauseMs: writerPauseMs }));
    writer.start();
    await options.beforeStart?.(world);
    await world.startVault();
    await world.enrol("east");
    await world.startReplicator();
    const trial = new Trial({ sites: world, writer, prng, owned: opening.move() });
    await trial.settle();
    return trial;
  }

  /** Waits until a point that was cut after this call is at the vault, then compares every new point with the truth. */
  async settle(): Promise<void> {
    const fromMs = clock.nowMs();
    const giveUpAtMs = clock.monotonicMs() + settleTimeoutMs;
    for (;;) {
      const head = (await this.sites.points()).at(-1);
      const isNew = head !== undefined && head.sequence > this.#settledAt;
      // A wall clock that was made to lie says nothing about when: two points more are enough then.
      const isLate = this.points.hasHonestClocks
        ? isNew && head.instant.lowerMs > fromMs
        : isNew && head.sequence > this.#settledAt + 2;
      if (isLate) break;
      if (clock.monotonicMs() > giveUpAtMs) {
        throw new Error(`no point came within ${settleTimeoutMs} ms\n${this.lastWords()}`);
      }
      await clock.sleep(lookEveryMs);
    }
    await this.points.look();
    this.#settledAt = this.points.newestSequence;
  }

  /** What both servers said last, for messages. */
  lastWords(): string {
    const { vault, replicator } = this.sites;
    return `vault:\n${vault.excerpt()}\nreplicator:\n${replicator.excerpt()}`;
  }

  /** Resolves when the replicator has cut so many points more, to wherever. */
  async cuts(count: number): Promise<void> {
    const { replicator } = this.sites;
    let { mark } = replicator;
    for (let cut = 0; cut < count; cut += 1) {
      const line = await replicator.seen(isCut, { mark });
      mark = replicator.lines.indexOf(line) + 1;
    }
  }

  /** What must be nothing after a fault that is over; `settle`s first. `since` is where the points stood before the fault. */
  async harm(since: number): Promise<Harm> {
    await this.settle();
    const held = new Set(this.points.points.map(({ id }) => id as string));
    const lost = this.#cutIds().filter((id) => !held.has(id));
    const resyncs = this.points.points
      .filter((point) => point.sequence > since)
      .flatMap(({ notes }) => notes);
    return { wrong: this.points.troubles.splice(0), lost, resyncs };
  }

  /** Points of which a replicator, this or one before, said that it had cut them. The newest may still be on its way. */
  #cutIds(): readonly string[] {
    const newest = this.points.newestSequence;
    return this.sites.replicators.flatMap(({ lines }) =>
      lines
        .filter(isCut)
        .map((line) => line.point as { readonly id: string; readonly sequence: number })
        .filter(({ sequence }) => sequence <= newest)
        .map(({ id }) => id),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}
