import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { ChangeCounter, DiskChange } from "../core/change-counter.ts";
import { type DiskName, type MachineName, machineOf } from "../core/ids.ts";
import { StretchSamples } from "./stretch-samples.ts";

// How much changes in 1, 2, 5, 10, 30 … seconds without a bitmap for each: a counter that began a while ago is looked at on its way. One
// that begins anew every 10 s is looked at after 1, 2, 5 and 10 s; one of 60 s after 30 and 60; one of 600 s after 300 and 600; and one
// never begins anew. Four bitmaps for each disk, however long it takes, and no look tells of the same stretch twice.

/** Lengths are multiples of a step, the tenth part of what is configured. */
const stepsPerEvery = 10;
const plans = [
  { counter: "short", looksAtSteps: [1, 2, 5, 10] },
  { counter: "middle", looksAtSteps: [30, 60] },
  { counter: "long", looksAtSteps: [300, 600] },
] as const;
/** Begins once and counts to the end. */
const whole = "whole";
/** A look that comes earlier or later than this share of its stretch tells of another stretch. */
const punctualityMin = 0.2;

/** What was seen of one machine, or of all together. */
export interface ChangeRecord {
  /** Null: the whole group. */
  readonly machine: MachineName | null;
  readonly sizeBytes: number;
  /** By length, shortest first; lengths that were never seen are left out. */
  readonly stretches: readonly { readonly seconds: number; readonly samples: StretchSamples }[];
  /** Unique bytes from the beginning to the last look; null when a counter was lost on the way. */
  readonly uniqueBytes: number | null;
}

/** What an assessment of one group saw. */
export interface Assessment {
  readonly seconds: number;
  readonly looks: number;
  /** Looks at which a disk could not be counted. */
  readonly incompleteLooks: number;
  /** What an earlier one had left and was removed, one sentence each. */
  readonly removed: readonly string[];
  readonly group: ChangeRecord;
  readonly machines: readonly ChangeRecord[];
}

/** What `assess` takes. */
export interface AssessOptions {
  readonly counter: ChangeCounter;
  readonly machines: readonly MachineName[];
  readonly disks: readonly DiskName[];
  readonly forSeconds: number;
  /** Ten times the shortest stretch. */
  readonly everySeconds: number;
  readonly clock: Clock;
  /** Aborting ends it early; what was seen by then is told. */
  readonly signal: AbortSignal;
  readonly onLook?: (elapsedSeconds: number) => void;
}

/** Watches what changes for so long. QMP_MISSING when no machine runs as it begins. */
export async function assess(options: AssessOptions): Promise<Assessment> {
  return await new Watch(options).run();
}

class Watch {
  readonly #options: AssessOptions;
  readonly #records: ReadonlyMap<MachineName | null, OpenRecord>;
  /** When each counter began, on the monotonic clock. */
  readonly #beganAtMs = new Map<string, number>();
  /** Machines whose counters were lost since they began, by counter. */
  readonly #lost = new Map<string, Set<MachineName>>();
  #looks = 0;
  #incomplete = 0;

  constructor(options: AssessOptions) {
    this.#options = options;
    const keys: readonly (MachineName | null)[] = [null, ...options.machines];
    this.#records = new Map(keys.map((machine) => [machine, new OpenRecord(machine)]));
  }

  async run(): Promise<Assessment> {
    const { counter, clock, signal, forSeconds, everySeconds } = this.#options;
    const stepMs = (everySeconds * 1000) / stepsPerEvery;
    const names = [...plans.map((plan) => plan.counter), whole];
    const { removed } = await counter.start(names, { signal });
    const startedAtMs = clock.monotonicMs();
    for (const name of names) {
      this.#beganAtMs.set(name, startedAtMs);
      this.#lost.set(name, new Set());
    }
    if ((await counter.read({ signal })).length === 0) {
      throw new Fault("QMP_MISSING", "none of the group's machines runs: nothing changes");
    }
    const steps = Math.floor((forSeconds * 1000) / stepMs);
    try {
      for (let step = 1; step <= steps; step += 1) {
        if (!isLook(step) && step < steps) continue;
        const waitMs = startedAtMs + step * stepMs - clock.monotonicMs();
        if (waitMs > 0) await clock.sleep(waitMs, { signal });
        await this.#look(step, stepMs);
        this.#options.onLook?.((clock.monotonicMs() - startedAtMs) / 1000);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    const told = (machine: MachineName | null) => this.#record(machine).told();
    return {
      seconds: (clock.monotonicMs() - startedAtMs) / 1000,
      ...{ looks: this.#looks, incompleteLooks: this.#incomplete, removed },
      group: told(null),
      machines: this.#options.machines.map(told),
    };
  }

  async #look(step: number, stepMs: number): Promise<void> {
    const { counter, clock, signal, machines, disks } = this.#options;
    const changes = await counter.read({ signal });
    const nowMs = clock.monotonicMs();
    this.#looks += 1;
    const there = new Set(changes.map(({ disk }) => disk));
    const missing = disks.filter((disk) => !there.has(disk)).map(machineOf);
    if (missing.length > 0) this.#incomplete += 1;
    for (const lost of this.#lost.values()) for (const machine of missing) lost.add(machine);
    for (const machine of [null, ...machines]) {
      const own = changes.filter(({ disk }) => machine === null || machineOf(disk) === machine);
      this.#record(machine).see(own, this.#isLost(whole, machine) ? null : sumOf(own, whole));
    }
    for (const plan of plans) {
      const periodSteps = Math.max(...plan.looksAtSteps);
      const at = step % periodSteps === 0 ? periodSteps : step % periodSteps;
      if (!plan.looksAtSteps.some((steps) => steps === at)) continue;
      this.#take(plan.counter, { changes, nowMs, seconds: (at * stepMs) / 1000 });
      if (at < periodSteps) continue;
      await counter.restart(plan.counter, { signal });
      this.#beganAtMs.set(plan.counter, nowMs);
      this.#lost.set(plan.counter, new Set(missing));
    }
  }

  #take(
    counter: string,
    look: {
      readonly changes: readonly DiskChange[];
      readonly nowMs: number;
      readonly seconds: number;
    },
  ): void {
    const { changes, nowMs, seconds } = look;
    const tookSeconds = (nowMs - (this.#beganAtMs.get(counter) ?? nowMs)) / 1000;
    if (Math.abs(tookSeconds / seconds - 1) > punctualityMin) return;
    for (const machine of [null, ...this.#options.machines]) {
      if (this.#isLost(counter, machine)) continue;
      const own = changes.filter(({ disk }) => machine === null || machineOf(disk) === machine);
      this.#record(machine).add(seconds, sumOf(own, counter));
    }
  }

  /** Whether what the counter says of the machine, or of all, does not go back to when it began. */
  #isLost(counter: string, machine: MachineName | null): boolean {
    const lost = this.#lost.get(counter);
    return lost !== undefined && (machine === null ? lost.size > 0 : lost.has(machine));
  }

  #record(machine: MachineName | null): OpenRecord {
    const record = this.#records.get(machine);
    if (record === undefined) throw new RangeError(`${String(machine)} is not assessed`);
    return record;
  }
}

function isLook(step: number): boolean {
  return plans.some(({ looksAtSteps }) => {
    const periodSteps = Math.max(...looksAtSteps);
    return looksAtSteps.some((at) => step % periodSteps === at % periodSteps);
  });
}

function sumOf(changes: readonly DiskChange[], counter: string): number {
  return changes.reduce((sum, { uniqueBytes }) => sum + (uniqueBytes.get(counter) ?? 0), 0);
}

/** A ChangeRecord that is being made. */
class OpenRecord {
  readonly #machine: MachineName | null;
  readonly #samples = new Map<number, StretchSamples>();
  #sizeBytes = 0;
  #uniqueBytes: number | null = 0;

  constructor(machine: MachineName | null) {
    this.#machine = machine;
  }

  see(changes: readonly DiskChange[], uniqueBytes: number | null): void {
    const sizeBytes = changes.reduce((sum, disk) => sum + disk.sizeBytes, 0);
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
    this.#uniqueBytes = uniqueBytes;
  }

  add(seconds: number, bytes: number): void {
    const samples = this.#samples.get(seconds) ?? new StretchSamples();
    this.#samples.set(seconds, samples);
    samples.add(bytes);
  }

  told(): ChangeRecord {
    const stretches = [...this.#samples].sort(([a], [b]) => a - b);
    return {
      machine: this.#machine,
      sizeBytes: this.#sizeBytes,
      stretches: stretches.map(([seconds, samples]) => ({ seconds, samples })),
      uniqueBytes: this.#uniqueBytes,
    };
  }
}
