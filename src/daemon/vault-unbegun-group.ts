import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import type { PointId } from "../core/ids.ts";
import type {
  IntakeStanding,
  JournalIntake,
  PointWriter,
  StagedDisk,
  StageRequest,
} from "../core/journal.ts";
import type { Point, PointHeader } from "../core/point.ts";

/** What a way to a group that may not be there needs of the vault. */
export interface UnbegunGroupOptions {
  /** The way to the group, or null while the vault has none of that name. */
  readonly find: () => Promise<JournalIntake | null>;
  /** Makes the group unless it is there; VAULT_FULL. */
  readonly begin: () => Promise<void>;
}

/**
 * The way to a group that the vault does not have: asking about it leaves nothing behind. It is begun by the first point or sync,
 * or by somebody else, and then this is the way to the group that it became.
 */
export class UnbegunGroup implements JournalIntake {
  readonly #options: UnbegunGroupOptions;
  #way: JournalIntake | null = null;
  #isOver = false;
  #lastLook: Promise<JournalIntake | null> = Promise.resolve(null);

  constructor(options: UnbegunGroupOptions) {
    this.#options = options;
  }

  head(): Point | null {
    return this.#way?.head() ?? null;
  }

  async ask(): Promise<IntakeStanding> {
    const way = await this.#look();
    return way === null ? { head: null, staged: [], generation: null, owed: null } : way.ask();
  }

  async begin(header: PointHeader): Promise<PointWriter> {
    return (await this.#begun()).begin(header);
  }

  async stage(request: StageRequest): Promise<StagedDisk> {
    return (await this.#begun()).stage(request);
  }

  async confirmCurrent(confirmation: {
    readonly point: PointId;
    readonly atMs: number;
  }): Promise<void> {
    await (await this.#look())?.confirmCurrent(confirmation);
  }

  owedSince(): PointId | null {
    return this.#way?.owedSince() ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#lastLook.catch(() => null); // Whoever looked was told.
    await this.#way?.[Symbol.asyncDispose]();
  }

  async #begun(): Promise<JournalIntake> {
    if ((await this.#look()) === null) await this.#options.begin();
    const way = await this.#look();
    assert(way !== null, "a group that was begun is there");
    return way;
  }

  /** One look after the other, so that there is one way only. */
  #look(): Promise<JournalIntake | null> {
    const look = this.#lastLook.then(async () => {
      if (this.#isOver) throw new Fault("LINK_RESET", "the session has ended");
      this.#way ??= await this.#options.find();
      return this.#way;
    });
    this.#lastLook = look.catch(() => null); // Its caller's.
    return look;
  }
}
