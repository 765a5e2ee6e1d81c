import type { Clock } from "../base/clock.ts";

/**
 * The steps of a cycle in their order. `onPhase` hears each before it begins ("read" and "write" before the first of theirs),
 * so that tests can stop, abort or kill the cycle there; a new step belongs in this list.
 */
export const cyclePhases = [
  "ask-head",
  "freeze",
  "begin",
  "extents",
  "read",
  "write",
  "release",
  "adopt",
  "seal",
  "forget",
  "end",
] as const;

/** A step of a cycle. */
export type CyclePhase = (typeof cyclePhases)[number];

/** The steps of a sync of one disk, heard the same way. */
export const syncPhases = [
  "sync-stage",
  "sync-track",
  "sync-read",
  "sync-write",
  "sync-checkpoint",
  "sync-end",
] as const;

/** A step of a sync. */
export type SyncPhase = (typeof syncPhases)[number];

/** Called before a step; what it rejects with fails the step. For tests. */
export type PhaseHook = (phase: CyclePhase | SyncPhase) => Promise<void> | void;

/** Durations of a cycle's steps in milliseconds; steps that overlap are counted in the one that began first. */
export type PhaseDurations = Readonly<Partial<Record<CyclePhase, number>>>;

/** Tells the hook and keeps the time. */
export class PhaseTimer {
  readonly #clock: Clock;
  readonly #hook: PhaseHook | undefined;
  readonly #durationsMs = new Map<CyclePhase, number>();
  #current: CyclePhase | null = null;
  #enteredAtMs = 0;

  constructor(clock: Clock, hook: PhaseHook | undefined) {
    this.#clock = clock;
    this.#hook = hook;
  }

  /** Begins a step, which ends the one before. */
  async enter(phase: CyclePhase): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#current !== null) {
      const before = this.#durationsMs.get(this.#current) ?? 0;
      this.#durationsMs.set(this.#current, before + nowMs - this.#enteredAtMs);
    }
    this.#current = phase;
    this.#enteredAtMs = nowMs;
    await this.#hook?.(phase);
  }

  durationsMs(): PhaseDurations {
    return Object.fromEntries(this.#durationsMs);
  }
}
