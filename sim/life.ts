import type { Clock } from "../src/base/clock.ts";
import { type Fault, isFault } from "../src/base/fault.ts";
import type { Prng } from "../src/base/prng.ts";
import type { GroupName } from "../src/core/ids.ts";
import type { Journal, View } from "../src/core/journal.ts";
import type { Source } from "../src/core/source.ts";
import { attach } from "../src/engine/attach.ts";
import { replicateOnce } from "../src/engine/cycle.ts";
import type { GroupStanding } from "../src/engine/standing.ts";
import { syncGroup } from "../src/engine/sync.ts";
import { happens, pick } from "./chance.ts";
import type { Oracle } from "./oracle.ts";
import type { Swarm } from "./swarm.ts";
import type { OpenVault } from "./vault.ts";

const intervalMs = 2_000;
const retryMs = 500;
const syncCheckpointBytes = 256 * 1024;

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
  readonly cycles: number;
  readonly betweenCycles: () => void;
  readonly tell: (event: string) => void;
}

/**
 * What a replicator does from its start on: attach, sync what must be, cut points; after a fault it attaches again.
 * Anything that is not a Fault is a bug and ends the world. Returns how many points were sealed.
 */
export async function live(options: LifeOptions): Promise<number> {
  const { clock, dice, swarm, oracle, tell, vault } = options;
  const journal = noting(vault.journal, oracle, tell);
  await oracle.checkAll(journal);
  const views = new HeldViews(oracle, journal, dice);
  let standing: GroupStanding | null = null;
  let sealed = 0;
  for (let cycle = 0; cycle < options.cycles; cycle += 1) {
    options.betweenCycles();
    try {
      standing = await cut(options, journal, standing);
      sealed += 1;
    } catch (error) {
      tell(`cycle failed: ${faultOf(error).code} ${faultOf(error).message}`);
      standing = null;
      await clock.sleep(retryMs);
    }
    oracle.checkList(journal);
    if (happens(dice, swarm.vault.viewRate)) await bear(tell, "view", () => views.hold());
    if (happens(dice, swarm.vault.maintenanceRate))
      await bear(tell, "upkeep", () => vault.upkeep());
    await bear(tell, "view check", () => views.checkOne());
    await clock.sleep(intervalMs);
  }
  await views.close();
  await oracle.checkAll(journal);
  return sealed;
}

async function cut(
  options: LifeOptions,
  journal: Journal,
  known: GroupStanding | null,
): Promise<GroupStanding | null> {
  const { source, clock, prng, group: name, tell } = options;
  const signal = new AbortController().signal;
  let standing = known;
  if (standing === null) {
    const attachment = await attach({ source, journal, prng, signal });
    standing = attachment.standing;
    tell(`attached: ${standing.disks.map((disk) => `${disk.name} ${disk.state}`).join(", ")}`);
  }
  standing = await syncGroup(standing, {
    source,
    journal,
    clock,
    signal,
    checkpointEveryBytes: syncCheckpointBytes,
  });
  const group = { name, generation: { number: 1, holder: "0123456789abcdef" } };
  const outcome = await replicateOnce({ source, journal, group, standing, clock, prng, signal });
  if (outcome.forgetError === null) return outcome.standing;
  tell(`not forgotten: ${faultOf(outcome.forgetError).code}`);
  return null;
}

/** The journal, with the oracle told of each acknowledgement. */
function noting(journal: Journal, oracle: Oracle, tell: (event: string) => void): Journal {
  return {
    head: () => journal.head(),
    points: () => journal.points(),
    stage: (request) => journal.stage(request),
    staged: () => journal.staged(),
    open: (point) => journal.open(point),
    [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
    begin: async (header) => {
      const writer = await journal.begin(header);
      return {
        write: (disk, offsetBytes, data) => writer.write(disk, offsetBytes, data),
        zero: (disk, offsetBytes, lengthBytes) => writer.zero(disk, offsetBytes, lengthBytes),
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
class HeldViews {
  readonly #oracle: Oracle;
  readonly #journal: Journal;
  readonly #dice: Prng;
  #views: View[] = [];

  constructor(oracle: Oracle, journal: Journal, dice: Prng) {
    this.#oracle = oracle;
    this.#journal = journal;
    this.#dice = dice;
  }

  async hold(): Promise<void> {
    const points = this.#journal.points();
    if (points.length === 0) return;
    this.#views.push(await this.#journal.open(pick(this.#dice, points).id));
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
async function bear(
  tell: (event: string) => void,
  what: string,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    tell(`${what} failed: ${faultOf(error).code} ${faultOf(error).message}`);
  }
}

function faultOf(error: unknown): Fault {
  if (!isFault(error)) throw error;
  return error;
}
