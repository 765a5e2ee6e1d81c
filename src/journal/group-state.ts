import { Fault } from "../base/fault.ts";
import type { ClockComparison } from "../core/clock-comparison.ts";
import type { DiskIdentity, GroupName, HashHex, PointId } from "../core/ids.ts";
import type { Generation, PointCost, PointDisk, PointHeader } from "../core/point.ts";
import type { LedgerEntry } from "../format/ledger-entry.ts";

/** A point as the ledger tells of it. Its machines lie beside, under their hash. */
export interface LedgerPoint {
  readonly facts: Omit<PointHeader, "machines">;
  readonly machinesHash: HashHex;
  readonly contentRoot: HashHex;
  readonly sealedAtMs: number;
  readonly cost: PointCost;
  readonly verifiedAtMs: number | null;
  readonly drilledAtMs: number | null;
  readonly currentAtMs: number | null;
  readonly clock: ClockComparison | null;
}

/** A delta file that views read: all that changed between two points. */
export interface LedgerDelta {
  readonly fromSequence: number;
  readonly sequence: number;
  readonly point: PointId;
  readonly file: string;
  readonly contentRoot: HashHex;
  /** In the order of its header: the delta's index speaks of disks by their place here. */
  readonly disks: readonly PointDisk[];
  readonly storedBytes: number;
  /** Whether blocks that it touches in part were completed from the base when it was merged. */
  readonly isCompleted: boolean;
}

/** In the header of a merged delta whose blocks were completed; the base does not move over one while anybody reads. */
export const completedNote = "Blocks that were changed in part were completed from the base.";

/**
 * Retired points that are remembered, those retired last: a point that is sealed again is the head or near it, and a group has no
 * end. Older ones are as if they had never been, but for `forgottenSequenceMax`.
 */
export const retiredRememberedMax = 10_000;

/** What remains known of a retired point. */
export interface SealedAs {
  readonly id: PointId;
  readonly contentRoot: HashHex;
  readonly sealedAtMs: number;
}

type SealedBody = Extract<LedgerEntry, { kind: "point-sealed" }>["body"];
type MergedBody = Extract<LedgerEntry, { kind: "deltas-merged" }>["body"];

/** All that a state knows, as plain values; objects in it may be shared and are never changed. */
export interface GroupStateParts {
  readonly group: GroupName | null;
  readonly vault: string | null;
  readonly position: number;
  readonly generation: Generation | null;
  readonly formerHolders: readonly (readonly [string, number])[];
  readonly headSequence: number;
  readonly forgottenSequenceMax: number;
  /** In the order in which they were sealed. */
  readonly open: readonly LedgerPoint[];
  /** With their sequences, in the order in which they were retired. */
  readonly retired: readonly (readonly [number, SealedAs])[];
  readonly deltas: readonly LedgerDelta[];
}

/** What the ledger's records add up to. Holds nothing that is not in the ledger. */
export class GroupState {
  group: GroupName | null = null;
  vault: string | null = null;
  /** Sequence of the point at which the base stands; 0 is the staged base of the first point. */
  position = 0;
  generation: Generation | null = null;
  /** Who held the generations before, by their number: told apart from those who never did. */
  #formerHolders = new Map<string, number>();
  /** Of the newest point ever sealed. */
  headSequence = 0;
  /** No point above is forgotten; 0 when none is. */
  forgottenSequenceMax = 0;
  #open = new Map<number, LedgerPoint>();
  /** In the order in which they were retired. */
  #retired = new Map<number, SealedAs>();
  #ids = new Map<PointId, number>();
  #deltas: LedgerDelta[] = [];

  /** The same state, to be changed on its own. */
  copy(): GroupState {
    return GroupState.of(this.parts());
  }

  parts(): GroupStateParts {
    const { group, vault, position, generation, headSequence, forgottenSequenceMax } = this;
    return {
      ...{ group, vault, position, generation, headSequence, forgottenSequenceMax },
      formerHolders: [...this.#formerHolders],
      open: [...this.#open.values()],
      retired: [...this.#retired],
      deltas: [...this.#deltas],
    };
  }

  /** The state that has these parts. */
  static of(parts: GroupStateParts): GroupState {
    const state = new GroupState();
    state.group = parts.group;
    state.vault = parts.vault;
    state.position = parts.position;
    state.generation = parts.generation;
    state.headSequence = parts.headSequence;
    state.forgottenSequenceMax = parts.forgottenSequenceMax;
    state.#formerHolders = new Map(parts.formerHolders);
    state.#open = new Map(parts.open.map((point) => [point.facts.sequence, point]));
    state.#retired = new Map(parts.retired);
    state.#deltas = [...parts.deltas];
    for (const [sequence, { id }] of parts.retired) state.#ids.set(id, sequence);
    for (const { facts } of parts.open) state.#ids.set(facts.id, facts.sequence);
    return state;
  }

  /** The points that can be opened, oldest first. */
  points(): LedgerPoint[] {
    return [...this.#open.values()];
  }

  pointAt(sequence: number): LedgerPoint | null {
    return this.#open.get(sequence) ?? null;
  }

  /** Null when no such point was sealed, or it is forgotten; `point` is null when it is retired. */
  find(id: PointId): { readonly point: LedgerPoint | null } | null {
    const sequence = this.#ids.get(id);
    return sequence === undefined ? null : { point: this.pointAt(sequence) };
  }

  /** Of an open point, or a retired one that is remembered. */
  sequenceOf(id: PointId): number | null {
    return this.#ids.get(id) ?? null;
  }

  /** What was sealed under a sequence, as long as it is remembered. */
  sealedAs(sequence: number): SealedAs | null {
    const point = this.pointAt(sequence);
    return point === null ? (this.#retired.get(sequence) ?? null) : sealedAsOf(point);
  }

  /** The newest generation before the current one that `holder` held; null when there is none. */
  formerNumberOf(holder: string): number | null {
    return this.#formerHolders.get(holder) ?? null;
  }

  get head(): LedgerPoint | null {
    return this.pointAt(this.headSequence);
  }

  /** The deltas above the base, oldest first. */
  deltas(): readonly LedgerDelta[] {
    return this.#deltas;
  }

  /** The deltas from the base up to a point, each beginning where the one before ends. */
  chainTo(sequence: number): readonly LedgerDelta[] {
    const chain = this.#deltas.filter((delta) => delta.sequence <= sequence);
    let at = this.position;
    for (const delta of chain) {
      if (delta.fromSequence !== at) throw brokenChain(at);
      at = delta.sequence;
    }
    if (at !== sequence) throw brokenChain(at);
    return chain;
  }

  /** Disks that some open point has: their bases are kept. */
  identities(): Set<DiskIdentity> {
    const disks = this.points().flatMap((point) => point.facts.disks);
    return new Set(disks.map((disk) => disk.identity));
  }

  apply(entry: LedgerEntry, atMs: number): void {
    switch (entry.kind) {
      case "group-created":
        this.group = entry.body.group as GroupName;
        this.vault = entry.body.vault;
        return;
      case "point-sealed":
        this.#seal(entry.body, atMs);
        return;
      case "deltas-merged": {
        const gone = new Set(entry.body.sources.map((source) => source.contentRoot));
        const kept = this.#deltas.filter((delta) => !gone.has(delta.contentRoot));
        kept.push(deltaOf(entry.body));
        this.#deltas = kept.sort((left, right) => left.sequence - right.sequence);
        return;
      }
      case "base-moved":
        this.position = entry.body.sequence;
        this.#deltas = this.#deltas.filter((delta) => delta.sequence > entry.body.sequence);
        return;
      case "points-retired":
        for (const { sequence } of entry.body.points) this.#retire(sequence);
        return;
      case "point-verified":
        this.#change(entry.body.point.sequence, { verifiedAtMs: atMs });
        return;
      case "point-drilled":
        if (entry.body.hasPassed) this.#change(entry.body.point.sequence, { drilledAtMs: atMs });
        return;
      case "generation-raised":
        this.#raise(entry.body.generation);
        return;
      case "point-current":
        this.#change(entry.body.point.sequence, { currentAtMs: entry.body.atMs });
        return;
      case "retention-lock-set":
      case "base-adopted":
      case "bases-dropped":
        return;
    }
  }

  #raise(generation: Generation): void {
    const { generation: before } = this;
    if (before !== null) this.#formerHolders.set(before.holder, before.number);
    this.#formerHolders.delete(generation.holder);
    this.generation = generation;
  }

  /** Points are replaced, never changed: copies of the state share them. */
  #change(sequence: number, what: Partial<LedgerPoint>): void {
    const point = this.#open.get(sequence);
    if (point !== undefined) this.#open.set(sequence, { ...point, ...what });
  }

  #retire(sequence: number): void {
    const point = this.#open.get(sequence);
    if (point === undefined) return;
    this.#open.delete(sequence);
    this.#retired.set(sequence, sealedAsOf(point));
    if (this.#retired.size <= retiredRememberedMax) return;
    for (const [oldest, { id }] of this.#retired) {
      this.#retired.delete(oldest);
      this.#ids.delete(id);
      this.forgottenSequenceMax = Math.max(this.forgottenSequenceMax, oldest);
      return;
    }
  }

  #seal(body: SealedBody, atMs: number): void {
    // The record's ids were checked against the patterns that the brands stand for.
    const facts = shared(
      body.point as unknown as Omit<PointHeader, "machines">,
      this.head?.facts ?? null,
    );
    const contentRoot = body.contentRoot as HashHex;
    this.#open.set(facts.sequence, {
      facts,
      machinesHash: body.machinesHash as HashHex,
      contentRoot,
      sealedAtMs: atMs,
      cost: body.cost,
      verifiedAtMs: null,
      drilledAtMs: null,
      currentAtMs: null,
      clock: body.clock ?? null,
    });
    this.#ids.set(facts.id, facts.sequence);
    this.#deltas.push({ ...deltaOf(body), disks: facts.disks });
    this.headSequence = facts.sequence;
    if (this.generation?.number !== facts.generation.number) this.#raise(facts.generation);
  }
}

function sealedAsOf({ facts, contentRoot, sealedAtMs }: LedgerPoint): SealedAs {
  return { id: facts.id, contentRoot, sealedAtMs };
}

function deltaOf(body: SealedBody | MergedBody): LedgerDelta {
  return {
    fromSequence: body.point.fromSequence,
    sequence: body.point.sequence,
    point: body.point.id as PointId,
    file: body.file,
    contentRoot: body.contentRoot as HashHex,
    disks: body.point.disks as unknown as readonly PointDisk[],
    storedBytes: body.cost.storedBytes,
    isCompleted: body.point.notes.includes(completedNote),
  };
}

/** What a point has in common with the one before is held once: most of it never changes, and points are many. */
function shared(
  facts: Omit<PointHeader, "machines">,
  before: Omit<PointHeader, "machines"> | null,
): Omit<PointHeader, "machines"> {
  if (before === null) return facts;
  const { consistency, disks, generation } = before;
  return {
    ...facts,
    group: before.group,
    consistency: isSame(facts.consistency, consistency) ? consistency : facts.consistency,
    disks: isSame(facts.disks, disks) ? disks : facts.disks,
    generation: isSame(facts.generation, generation) ? generation : facts.generation,
  };
}

function isSame(left: unknown, right: unknown): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** A point as ledger records name it. */
export function named(point: {
  readonly id: PointId;
  readonly sequence: number;
  readonly contentRoot: HashHex;
}) {
  return { id: point.id, sequence: point.sequence, contentRoot: point.contentRoot };
}

function brokenChain(sequence: number): Fault {
  const message = `the ledger knows no delta that goes on from point #${sequence}`;
  return new Fault("LEDGER_CORRUPT", message, { sequence });
}
