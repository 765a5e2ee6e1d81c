import type { Clock } from "../../base/clock.ts";
import type { Fault } from "../../base/fault.ts";
import type { HashHex } from "../../core/ids.ts";
import type { JournalIntake, StageRequest } from "../../core/journal.ts";
import type { Point, PointHeader } from "../../core/point.ts";
import type { RoutedWriter } from "../cycle-intake.ts";
import { isLinkFault } from "../link-faults.ts";
import { within } from "./bounded.ts";
import { DirectWriter, directHoldMsMax } from "./direct-writer.ts";
import type { SpoolGroup } from "./spool-group.ts";
import type { SpoolState } from "./spool-state.ts";
import { withDirectlySealed, withRefused, withUnanswered } from "./state-changes.ts";

/** What the direct way needs of the intake. */
export interface DirectPathOptions {
  readonly group: SpoolGroup;
  readonly link: JournalIntake;
  readonly clock: Clock;
  readonly readBytesPerSecond: () => number;
  /** Before the state says so. */
  readonly onSealed: () => void;
  /** Nobody knows whether the vault sealed the point. */
  readonly onUnanswered: () => void;
  readonly onBehind: (fault: Fault | null) => void;
}

/**
 * Points that go to the vault past an empty spool. Before each seal the state says that the point may be there, so that after a
 * kill, or a lost answer, both bitmaps go on recording until the vault was asked.
 */
export class DirectPath {
  readonly #options: DirectPathOptions;
  #giveUp: Promise<void> = Promise.resolve();

  constructor(options: DirectPathOptions) {
    this.#options = options;
  }

  /** Resolves when no point that was begun at the vault is open any more. */
  get isFree(): Promise<void> {
    return this.#giveUp;
  }

  /** Rejects with LINK_* within `directHoldMsMax`. */
  async begin(header: PointHeader): Promise<RoutedWriter> {
    const { link, clock } = this.#options;
    const beginning = link.begin(header);
    let inner: Awaited<typeof beginning>;
    try {
      inner = await within(directHoldMsMax, "beginning a point", clock, beginning);
    } catch (error) {
      // It may begin yet, and must be over before the next one begins.
      this.#giveUp = beginning.then(
        (writer) => writer[Symbol.asyncDispose](),
        () => {},
      );
      throw error;
    }
    const adopted: StageRequest[] = [];
    return new DirectWriter({
      inner,
      clock,
      readBytesPerSecond: this.#options.readBytesPerSecond(),
      onAdopted: (request) => adopted.push(request),
      seal: (writing) => this.#seal(header, adopted, writing),
      onDisposed: (disposing) => {
        this.#giveUp = disposing;
        disposing.catch(() => {}); // Told to whoever waits for it.
      },
    });
  }

  async #seal(
    header: PointHeader,
    adopted: readonly StageRequest[],
    writing: () => Promise<Point>,
  ): Promise<Point> {
    const { group, onBehind } = this.#options;
    const before = group.state;
    const maybe = unsealedPoint(header);
    onBehind(
      await group.changeAnyway((state) => ({ state: withUnanswered(state, maybe, adopted) })),
    );
    let point: Point;
    try {
      point = await writing();
    } catch (error) {
      if (isLinkFault(error)) this.#options.onUnanswered();
      else await group.changeAnyway((state) => ({ state: withRefused(state, before) }));
      throw error;
    }
    this.#options.onSealed();
    const sealed = (state: SpoolState) => ({ state: withDirectlySealed(state, point, adopted) });
    onBehind(await group.changeAnyway(sealed));
    return point;
  }
}

/** A header as the point that it may have become. */
function unsealedPoint(header: PointHeader): Point {
  return {
    ...header,
    contentRoot: "0".repeat(64) as HashHex,
    sealedAtMs: header.instant.upperMs,
    cost: { dirtyBytes: 0, readBytes: 0, dataBytes: 0, zeroBytes: 0, storedBytes: 0 },
    verifiedAtMs: null,
    drilledAtMs: null,
    currentAtMs: null,
    clock: null,
  };
}
