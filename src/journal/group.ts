import { join } from "node:path";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { Prng } from "../base/prng.ts";
import type { PointId } from "../core/ids.ts";
import type { View } from "../core/journal.ts";
import type { Generation, Point } from "../core/point.ts";
import { GroupState, type LedgerDelta, type LedgerPoint } from "./group-state.ts";
import { LedgerFollower } from "./ledger-follower.ts";
import { MachinesStore } from "./machines-store.ts";
import { Pins } from "./pins.ts";
import type { GroupLayout } from "./vault-layout.ts";
import type { VaultLocks } from "./vault-locks.ts";
import { type VerifyOptions, type VerifyReport, verifyGroup } from "./verify-group.ts";
import { type DirectoryView, openView } from "./view.ts";

export interface GroupOptions {
  readonly files: FileSystem;
  readonly layout: GroupLayout;
  readonly locks: VaultLocks;
  readonly prng: Prng;
}

/** A group's directory as its ledger tells of it: what readers and the writer have in common. */
export class Group {
  readonly files: FileSystem;
  readonly layout: GroupLayout;
  readonly pins: Pins;
  readonly machines: MachinesStore;
  state = new GroupState();
  /** The newest confirmation of the head, in the ledger or not yet there; the writer's only. */
  confirmed: { readonly point: PointId; readonly atMs: number } | null = null;
  /** What was found wrong and put right or worked around, one sentence each. */
  readonly notes: string[] = [];

  constructor(options: GroupOptions) {
    const { files, layout, locks, prng } = options;
    this.files = files;
    this.layout = layout;
    this.pins = new Pins({ files, directory: layout.pins, locks, prng });
    this.machines = new MachinesStore(files, layout.machines);
  }

  head(): Point | null {
    const { head } = this.state;
    return head === null ? null : this.pointOf(head);
  }

  points(): readonly Point[] {
    return this.state.points().map((point) => this.pointOf(point));
  }

  pointOf(point: LedgerPoint): Point {
    const { facts, machinesHash, contentRoot, sealedAtMs, cost } = point;
    const { verifiedAtMs, drilledAtMs, clock } = point;
    const machines = this.machines.get(machinesHash);
    const confirmedAtMs = this.confirmed?.point === facts.id ? this.confirmed.atMs : null;
    const currentAtMs = confirmedAtMs ?? point.currentAtMs;
    const seen = { sealedAtMs, verifiedAtMs, drilledAtMs, currentAtMs };
    return { ...facts, machines, contentRoot, cost, clock, ...seen };
  }

  /** The open point of that id. POINT_UNKNOWN, POINT_RETIRED. */
  pointNamed(id: PointId): LedgerPoint {
    const found = this.state.find(id);
    if (found === null) {
      throw new Fault("POINT_UNKNOWN", `${this.name}: there is no point ${id}`, { point: id });
    }
    if (found.point === null) {
      throw new Fault("POINT_RETIRED", `${this.name}: point ${id} is retired`, { point: id });
    }
    return found.point;
  }

  /**
   * Sequences of the points that somebody reads just now, also of retired ones. One that is not known may be any that was forgotten:
   * it counts as the lowest and the highest of those, so that nothing it could read goes.
   */
  async pinnedSequences(): Promise<number[]> {
    const { state } = this;
    const { forgottenSequenceMax } = state;
    const forgotten = forgottenSequenceMax === 0 ? [] : [0, forgottenSequenceMax];
    const pinned = [...(await this.pins.pinned())];
    return pinned.flatMap((id) => state.sequenceOf(id) ?? forgotten);
  }

  get name(): string {
    return this.state.group ?? this.layout.directory;
  }

  /**
   * Opens a point for reading: pins it first and looks at the ledger then (`lookAgain`), so that whoever retires points either sees
   * the pin or is seen.
   */
  async open(id: PointId, lookAgain: () => Promise<void>): Promise<DirectoryView> {
    await using opening = new AsyncDisposableStack();
    const pin = opening.use(await this.pins.pin(id));
    await lookAgain();
    const point = this.pointNamed(id);
    const { files, layout, state } = this;
    const chain = state.chainTo(point.facts.sequence);
    await this.#checkPresent(chain);
    opening.move(); // From here on the view's, also when it cannot be opened.
    const { disks } = point.facts;
    return openView({
      files,
      layout,
      point: this.pointOf(point),
      disks,
      chain,
      isOverBase: true,
      pin,
    });
  }

  /** Indices may come from the cache; that a delta is gone must not first be found in the middle of a recovery. */
  async #checkPresent(chain: readonly LedgerDelta[]): Promise<void> {
    const { deltas } = this.layout;
    const present = new Set(await this.files.list(deltas));
    const missing = chain.find((delta) => !present.has(delta.file));
    if (missing === undefined) return;
    const path = join(deltas, missing.file);
    throw new Fault("DELTA_MISSING", `${path}: the delta is not there`, { path });
  }

  /** Reads the machine descriptions that open points name. */
  async loadMachines(): Promise<void> {
    const hashes = this.state.points().map((point) => point.machinesHash);
    for (const hash of await this.machines.load(hashes)) {
      const path = join(this.layout.machines, `${hash}.json`);
      this.notes.push(`The machine descriptions in ${path} are missing or damaged.`);
    }
  }
}

/** A group beside its writer, or without one: lists points and opens views, changes nothing. */
export interface GroupReader {
  /** Looks at the ledger again. */
  refresh(): Promise<void>;
  head(): Point | null;
  /** Who may write; null before the first point of a group that nobody was given. */
  generation(): Generation | null;
  points(): readonly Point[];
  /** Opens a point as the ledger is now. Pins it until disposed. POINT_UNKNOWN, POINT_RETIRED, DELTA_MISSING. */
  open(point: PointId): Promise<View>;
  /** Hashes what open points read and says which are lost and which are good. A writer may go on beside. */
  verify(options: VerifyOptions): Promise<VerifyReport>;
  readonly notes: readonly string[];
}

/** Opens a group for reading. LEDGER_CORRUPT, VAULT_VERSION, GROUP_UNKNOWN. */
export async function openGroupReader(options: GroupOptions): Promise<GroupReader> {
  const group = new Group(options);
  const { layout, files } = group;
  const follower = new LedgerFollower(files, layout);
  const refresh = async () => {
    const state = await follower.look();
    if (state === null) throw groupUnknown(layout);
    if (state === group.state) return;
    group.state = state;
    await group.loadMachines();
  };
  await refresh();
  return {
    refresh,
    head: () => group.head(),
    generation: () => group.state.generation,
    points: () => group.points(),
    open: (point) => group.open(point, refresh),
    verify: (options) => verifyGroup(group, refresh, options),
    notes: group.notes,
  };
}

/** What to reject with when a group has no ledger. */
export function groupUnknown(layout: GroupLayout): Fault {
  return new Fault("GROUP_UNKNOWN", `${layout.directory}: there is no ledger`, {
    path: layout.directory,
  });
}
