import { Fault, isFault } from "../../base/fault.ts";
import { KIB } from "../../base/units.ts";
import type { PointId } from "../../core/ids.ts";
import type { IntakeStanding, StagedDisk, StageRequest } from "../../core/journal.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import type { PointOutlook, Route, RoutedWriter, RoutePlan } from "../cycle-intake.ts";
import { currentAsOfMs } from "../cycle-report.ts";
import { isLinkFault } from "../link-faults.ts";
import { within } from "./bounded.ts";
import { DirectPath } from "./direct-path.ts";
import { LazyStagedDisk } from "./lazy-staged-disk.ts";
import { ReadingRate } from "./reading-rate.ts";
import { reconcile } from "./reconcile.ts";
import { decideRoute } from "./route.ts";
import { type Shipped, Shipper } from "./shipper.ts";
import type { SpoolEvent, SpoolStatus } from "./spool-events.ts";
import type { SpoolGroup } from "./spool-group.ts";
import type { SpoolState } from "./spool-state.ts";
import { SpoolWriter } from "./spool-writer.ts";
import type { SpooledIntake, SpooledIntakeOptions } from "./spooled-intake-options.ts";
import { withAcknowledged, withStaged } from "./state-changes.ts";
import { encodeSpoolState } from "./state-file.ts";

export type { SpooledIntake, SpooledIntakeOptions } from "./spooled-intake-options.ts";

/** Who is asked for the group's standing, and for what else is small, and does not answer in this time is away. */
const answerMsMax = 3_000;
/** What a delta is thought to take besides what is dirty. */
const overheadBytes = 256 * KIB;

/** Opens the group's part of the spool before the vault's journal. STORAGE_*. */
export async function spooledIntake(options: SpooledIntakeOptions): Promise<SpooledIntake> {
  const group = await options.spool.openGroup(options.group.name);
  const intake = new VaultWithSpool(options, group);
  intake.tellLosses();
  return intake;
}

/**
 *   ask ──link up──▶ the vault's answer, put in accord with the spool        begin ──plan──▶ direct ──link fault──▶ unanswered
 *    └──link down──▶ what the state remembers; LINK_LOST if nothing                    └───▶ spool ─▶ shipped in the background
 */
class VaultWithSpool implements SpooledIntake {
  readonly #options: SpooledIntakeOptions;
  readonly #group: SpoolGroup;
  readonly #shipper: Shipper;
  readonly #direct: DirectPath;
  readonly #reading = new ReadingRate();
  #planned: Route | null = null;
  #toldRoute: Route | null = null;
  #wasDiverted = false;
  #isFullTold = false;
  /** Of what the vault acknowledged: an answer that was asked for before is out of date. */
  #acknowledgements = 0;
  #confirmation: { readonly point: PointId; readonly atMs: number } | null = null;
  /** Whether the vault itself gave the last answer to `ask`. */
  #isStandingFresh = false;
  /** What the last point that went by way of the spool did not fit by. */
  #overflow: Fault | null = null;
  /** Another holds the group: nothing more is cut or shipped before the vault says otherwise. */
  #fence: Fault | null = null;

  constructor(options: SpooledIntakeOptions, group: SpoolGroup) {
    this.#options = options;
    this.#group = group;
    this.#direct = new DirectPath({
      ...options,
      group,
      readBytesPerSecond: () => this.#reading.bytesPerSecond,
      onSealed: () => {
        this.#acknowledgements += 1;
        this.#overflow = null;
      },
      onUnanswered: () => {
        this.#wasDiverted = true;
      },
      onBehind: (fault) => this.#tellBehind(fault),
    });
    this.#shipper = new Shipper({
      ...options,
      group,
      holder: options.group.holder,
      reconcile: () => this.#reconcile(),
      untilLinkIsFree: () => this.#soon("giving a point up", this.#direct.isFree),
      onShipped: (shipped) => this.#onShipped(shipped),
      onDelayed: (fault, delayMs) => {
        this.#tell({ type: "shipping-delayed", fault, delaySeconds: delayMs / 1000 });
      },
      onStopped: (fault) => {
        this.#fence = fault;
        this.#tell({ type: "shipping-stopped", fault });
      },
      onLost: async (point, reason) => {
        this.#tellBehind(await group.dropFrom(point, reason));
        this.tellLosses();
      },
    });
  }

  head(): Point | null {
    return this.#group.newest;
  }

  acknowledged(): Point | null {
    return this.#group.state.vaultHead;
  }

  nextSequence(): number {
    const { unanswered, dropped } = this.#group.state;
    const taken = [this.head(), unanswered, dropped.at(-1)].map((point) => point?.sequence ?? 0);
    return Math.max(...taken) + 1;
  }

  owedSince(): PointId | null {
    return this.#group.state.owed?.since ?? null;
  }

  async ask(): Promise<IntakeStanding> {
    this.#isStandingFresh = false;
    if (this.#options.health().isUp) {
      try {
        await this.#reconcile();
        this.#fence = null;
        this.#isStandingFresh = true;
        this.#shipper.goOn();
      } catch (error) {
        if (isFault(error, "GENERATION_STALE", "GENERATION_CONFLICT")) this.#fence = error;
        if (!isLinkFault(error)) throw error;
      }
    }
    if (this.#fence !== null) throw this.#fence;
    const { isVaultKnown, staged, generation, owed, points } = this.#group.state;
    if (!isVaultKnown) {
      throw new Fault("LINK_LOST", "The vault was never reached, so nobody knows what it holds.");
    }
    // What a point that waits takes over is not under way any more.
    const adopted = new Set(
      points.flatMap((point) => point.adopted.map(({ identity }) => identity)),
    );
    return {
      head: this.head(),
      staged: staged.filter(({ identity }) => !adopted.has(identity)),
      generation,
      owed,
    };
  }

  async plan(outlook: PointOutlook): Promise<RoutePlan> {
    this.#throwFence();
    const health = this.#options.health();
    if (outlook.failed !== null) {
      this.#wasDiverted = true;
      this.#shipper.askAgain();
    }
    const { points, unanswered } = this.#group.state;
    const isDirectPossible = health.isUp && points.length === 0 && outlook.failed === null;
    let plan = this.#decide(outlook);
    if (plan.route === "spool" && outlook.adopts && unanswered !== null) {
      // Were it there, what is staged would have joined a base or another point, and this one could not take it over.
      const reason = "Nobody has heard whether the vault sealed the last point.";
      if (!isDirectPossible) throw new Fault("LINK_LOST", reason);
      plan = { route: "direct", reason };
    }
    if (plan.route === "spool") {
      const full = await this.#fullness(outlook, isDirectPossible);
      if (full !== null && !this.#isFullTold) this.#tell({ type: "spool-full", fault: full });
      this.#isFullTold = full !== null;
      if (full !== null && !isDirectPossible) throw full;
      const reason = "The spool has no room for the point and the link is up.";
      if (full !== null) plan = { route: "direct", reason };
    }
    this.#planned = plan.route;
    if (plan.route !== this.#toldRoute) this.#tell({ type: "route", ...plan });
    this.#toldRoute = plan.route;
    return plan;
  }

  async begin(header: PointHeader): Promise<RoutedWriter> {
    this.#throwFence();
    const head = this.head();
    if (header.fromPoint !== (head?.id ?? null)) {
      const message = `${header.group}: the newest point is not the one that #${header.sequence} starts from`;
      throw new Fault("SEAL_REFUSED", message, { head: head?.id ?? null, point: header.id });
    }
    const route =
      this.#planned ?? this.#decide({ dirtyBytes: null, adopts: false, failed: null }).route;
    this.#planned = null;
    return route === "direct" ? this.#direct.begin(header) : this.#beginInSpool(header);
  }

  async stage(request: StageRequest): Promise<StagedDisk> {
    return new LazyStagedDisk({
      request,
      open: () => this.#stageAtVault(request),
      onStatus: async (status) => {
        const staged = (state: SpoolState) => ({ state: withStaged(state, status) });
        this.#tellBehind(await this.#group.changeAnyway(staged));
      },
    });
  }

  async confirmCurrent(confirmation: {
    readonly point: PointId;
    readonly atMs: number;
  }): Promise<void> {
    this.#throwFence();
    if (confirmation.point !== this.head()?.id) return;
    this.#confirmation = confirmation;
    if (this.#group.state.points.length === 0) await this.#passConfirmation();
  }

  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.#shipper.run(signal);
  }

  status(): SpoolStatus {
    const { points } = this.#group.state;
    const { clock, health } = this.#options;
    const { room, waitingBytes } = this.#group;
    const oldest = points[0];
    const { bytesPerSecond } = health();
    return {
      points: points.length,
      bytes: waitingBytes,
      oldestAgeSeconds: oldest === undefined ? null : (clock.nowMs() - oldest.takenAtMs) / 1000,
      shippingEtaSeconds:
        waitingBytes === 0 ? 0 : bytesPerSecond === null ? null : waitingBytes / bytesPerSecond,
      usedBytes: room.usedBytes,
      capBytes: room.capBytes,
    };
  }

  /** The link stays the caller's, and what waits stays in the spool. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group.settled();
  }

  /** Tells what the spool lost since this was called last. */
  tellLosses(): void {
    for (const { points, reason } of this.#group.takeLosses()) {
      const [first, last] = [points[0], points.at(-1)];
      this.#tell({
        type: "hole",
        points: points.length,
        fromSequence: first?.sequence ?? null,
        toSequence: last?.sequence ?? null,
        reason,
      });
    }
    this.#tellStatus();
  }

  async #stageAtVault(request: StageRequest): Promise<StagedDisk> {
    this.#throwFence();
    // What is staged as far as we remember may have joined a base long since.
    if (!this.#isStandingFresh || !this.#options.health().isUp) {
      throw new Fault("LINK_LOST", "The vault, where disks are staged, could not be asked.");
    }
    const waiting = this.#group.state.points.length;
    if (request.kind === "parts" && waiting > 0) {
      // Parts are what differs from the vault's head, which these points are going to change.
      const message = `${request.disk} is compared with the vault's head once the ${waiting} points before it are shipped`;
      throw new Fault("LINK_STALLED", message, { disk: request.disk, waiting });
    }
    return this.#options.link.stage(request);
  }

  #decide(outlook: PointOutlook): RoutePlan {
    return decideRoute({
      ...outlook,
      health: this.#options.health(),
      waiting: this.#group.state.points.length,
      wasDiverted: this.#wasDiverted,
      readBytesPerSecond: this.#reading.bytesPerSecond,
    });
  }

  /**
   * What keeps the next point out of the spool, or null. What the last one did not fit by counts only where there is another way:
   * how large a point becomes is not known before.
   */
  async #fullness(outlook: PointOutlook, isDirectPossible: boolean): Promise<Fault | null> {
    if (isDirectPossible && this.#overflow !== null) return this.#overflow;
    try {
      await this.#group.requireRoom((outlook.dirtyBytes ?? 0) + overheadBytes);
      return null;
    } catch (error) {
      if (!isFault(error, "SPOOL_FULL")) throw error;
      return error;
    }
  }

  async #beginInSpool(header: PointHeader): Promise<RoutedWriter> {
    const { clock, codecOf } = this.#options;
    const startedAtMs = clock.monotonicMs();
    return SpoolWriter.begin({
      group: this.#group,
      header,
      codecOf,
      onFull: (fault) => {
        this.#overflow = fault;
      },
      onSealed: (dataBytes) => {
        this.#wasDiverted = false;
        this.#overflow = null;
        this.#reading.learn(dataBytes, clock.monotonicMs() - startedAtMs);
        this.#tellStatus();
        this.#shipper.wake();
      },
    });
  }

  async #reconcile(): Promise<void> {
    const { link, group } = this.#options;
    for (;;) {
      const asOf = this.#acknowledgements;
      const vault = await this.#soon("asking how the group stands", link.ask());
      let isStale = false;
      const behind = await this.#group.changeAnyway((state) => {
        isStale = asOf !== this.#acknowledgements;
        if (isStale) return { state };
        const reconciled = reconcile(state, vault, group);
        return isSameState(reconciled.state, state) ? { state } : reconciled;
      });
      if (isStale) continue;
      this.#tellBehind(behind);
      this.tellLosses();
      return;
    }
  }

  async #onShipped({ spooled, point, durationMs }: Shipped): Promise<void> {
    const { clock } = this.#options;
    const before = this.#group.state.vaultHead ?? point;
    this.#acknowledgements += 1;
    const behind = await this.#group.acknowledge((state) => {
      const index = state.points.findIndex(({ id }) => id === point.id);
      return { state: index === -1 ? state : withAcknowledged(state, index, point) };
    });
    this.#tellBehind(behind);
    const nowMs = clock.nowMs();
    this.#tell({
      type: "shipped",
      point: point.id,
      sequence: point.sequence,
      bytes: spooled.sizeBytes,
      durationSeconds: durationMs / 1000,
      rpoSeconds: (nowMs - currentAsOfMs(before)) / 1000,
      lagSeconds: (nowMs - spooled.takenAtMs) / 1000,
    });
    this.tellLosses();
    if (this.#group.state.points.length === 0) await this.#passConfirmation();
  }

  /** Advisory: a vault that does not answer is not told. */
  async #passConfirmation(): Promise<void> {
    const confirmation = this.#confirmation;
    this.#confirmation = null;
    const { link, health } = this.#options;
    const isHead = confirmation?.point === this.#group.state.vaultHead?.id;
    if (confirmation === null || !isHead || !health().isUp) return;
    try {
      await this.#soon("confirming a point", link.confirmCurrent(confirmation));
    } catch (error) {
      if (!isLinkFault(error)) throw error;
      return;
    }
    this.#group.rememberCurrent(confirmation);
  }

  #soon<Value>(what: string, work: Promise<Value>): Promise<Value> {
    return within(answerMsMax, what, this.#options.clock, work);
  }

  #throwFence(): void {
    if (this.#fence !== null) throw this.#fence;
  }

  #tellBehind(fault: Fault | null): void {
    if (fault !== null) this.#tell({ type: "spool-state-behind", fault });
  }

  #tellStatus(): void {
    this.#tell({ type: "spool", status: this.status() });
  }

  #tell(event: SpoolEvent): void {
    this.#options.onEvent?.(event);
  }
}

function isSameState(one: SpoolState, other: SpoolState): boolean {
  return encodeSpoolState(one) === encodeSpoolState(other);
}
