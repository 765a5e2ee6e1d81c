import type { Clock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import type { Prng } from "../src/base/prng.ts";
import type { GroupName } from "../src/core/ids.ts";
import type { Journal, View } from "../src/core/journal.ts";
import type { Source } from "../src/core/source.ts";
import type { EngineEvent } from "../src/engine/events.ts";
import { faultOf } from "../src/engine/fault-of.ts";
import { runGroup } from "../src/engine/run.ts";
import { happens, pick } from "./chance.ts";
import type { Oracle } from "./oracle.ts";
import type { Swarm } from "./swarm.ts";
import type { OpenVault } from "./vault.ts";

const intervalSeconds = 2;

export interface LifeOptions {
  readonly source: Source;
  readonly vault: OpenVault;
  readonly group: GroupName;
  readonly clock: Clock;
  /** The product's own randomness. */
  readonly prng: Prng;
  /** The world's decisions about this life. */
  readonly dice: Prng;
  readonly swarm: Swarm;
  readonly oracle: Oracle;
  /** The world ends with it: everything is checked. */
  readonly isLast: boolean;
  /** Points to cut. */
  readonly cycles: number;
  /** Told to stop after so long, whatever it has done. */
  readonly durationMs: number;
  readonly betweenCycles: () => void;
  readonly tell: (event: string) => void;
}

/**
 * What a replicator does from its start to its end: checks nothing it did not seal is there, then runs the group until it
 * has cut its points or its time is up. Anything that is not a Fault is a bug and ends the world. Returns the points sealed.
 */
export async function live(options: LifeOptions): Promise<number> {
  const { clock, dice, swarm, oracle, tell, vault } = options;
  const journal = noting(vault.journal, oracle, tell);
  await oracle.check(journal, dice);
  const views = new HeldViews(options);
  const maintain = async () => {
    if (happens(dice, swarm.vault.viewRate)) await bear(tell, "view", () => views.hold());
    if (happens(dice, swarm.vault.upkeepRate)) await bear(tell, "upkeep", () => vault.upkeep());
    await views.checkOne();
    oracle.checkList(journal);
  };
  const over = new AbortController();
  const hasEnded = clock.sleep(options.durationMs, { signal: over.signal }).then(
    () => over.abort(new Fault("ABORTED", "the life's time is up")),
    () => {},
  );
  const { points } = await runGroup({
    source: options.source,
    journal,
    group: { name: options.group, holder: "0123456789abcdef" },
    intervalSeconds,
    cycles: options.cycles,
    syncBytesPerSecondMax: swarm.vault.syncBytesPerSecondMax,
    maintain,
    clock,
    prng: options.prng,
    signal: over.signal,
    onEvent: (event) => tellEvent(event, options),
  });
  over.abort();
  await hasEnded;
  await views.close();
  if (options.isLast) await oracle.checkEverything(journal, vault);
  else await oracle.check(journal, dice);
  return points;
}

function tellEvent(event: EngineEvent, { tell, oracle, betweenCycles }: LifeOptions): void {
  if (event.type === "cycle") betweenCycles();
  if (event.type === "state") tell(`engine: ${event.state}`);
  if (event.type === "retrying") tell(`engine: ${event.fault.code} ${event.fault.message}`);
  if (event.type === "maintenance-failed") tell(`engine: upkeep ${event.fault.message}`);
  if (event.type !== "attached") return;
  tell(`engine: ${event.disks.map((disk) => `${disk.name} ${disk.state}`).join(", ")}`);
  for (const disk of event.disks) {
    if (disk.state === "resync") oracle.noteResync(disk.name, disk.cause);
  }
}

/** The journal, with the oracle told of each acknowledgement. */
function noting(journal: Journal, oracle: Oracle, tell: (event: string) => void): Journal {
  return {
    head: () => journal.head(),
    points: () => journal.points(),
    stage: (request) => journal.stage(request),
    staged: () => journal.staged(),
    open: (point) => journal.open(point),
    ask: () => journal.ask(),
    confirmCurrent: (confirmation) => journal.confirmCurrent(confirmation),
    owedSince: () => journal.owedSince(),
    [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
    begin: async (header) => {
      const writer = await journal.begin(header);
      return {
        write: (disk, offsetBytes, data) => writer.write(disk, offsetBytes, data),
        zero: (disk, offsetBytes, lengthBytes) => writer.zero(disk, offsetBytes, lengthBytes),
        writeStored: (disk, chunk) => writer.writeStored(disk, chunk),
        adopt: (staged) => writer.adopt(staged),
        seal: async (cost) => {
          const point = await writer.seal(cost);
          oracle.acknowledge(point);
          tell(`sealed #${point.sequence} ${point.id}`);
          return point;
        },
        [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
      };
    },
  };
}

/** Views that stay open over cycles and upkeep: nothing beneath them may move. */
export class HeldViews {
  readonly #oracle: Oracle;
  readonly #journal: Journal;
  readonly #openView: OpenVault["openView"];
  readonly #dice: Prng;
  #views: View[] = [];

  constructor({ oracle, vault, dice }: Pick<LifeOptions, "oracle" | "vault" | "dice">) {
    this.#oracle = oracle;
    this.#journal = vault.journal;
    this.#openView = (point) => vault.openView(point);
    this.#dice = dice;
  }

  async hold(): Promise<void> {
    const points = this.#journal.points();
    if (points.length === 0) return;
    const { id } = pick(this.#dice, points);
    this.#views.push(await this.#openView(id));
    if (this.#views.length > 2) await this.#views.shift()?.[Symbol.asyncDispose]();
  }

  async checkOne(): Promise<void> {
    if (this.#views.length > 0) await this.#oracle.checkView(pick(this.#dice, this.#views));
  }

  async close(): Promise<void> {
    for (const view of this.#views) {
      await this.#oracle.checkView(view);
      await view[Symbol.asyncDispose]();
    }
    this.#views = [];
  }
}

/** Runs what may fail by misfortune. */
export async function bear(
  tell: (event: string) => void,
  what: string,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const fault = faultOf(error);
    if (fault === null) throw error;
    tell(`${what} failed: ${fault.code} ${fault.message}`);
  }
}
