import type { Prng } from "../../src/base/prng.ts";
import { between, happens } from "../chance.ts";
import type { SitesOracle } from "./oracle.ts";
import type { Site } from "./site.ts";
import type { SiteClock } from "./site-clock.ts";
import { type SitesSwarm, spoolDirectory } from "./swarm.ts";

const jumpMsMax = 3_600_000;

/** What time and decay do to the two hosts. */
export class Decay {
  readonly #prng: Prng;
  readonly #swarm: SitesSwarm;
  readonly #oracle: SitesOracle;
  readonly #clocks: { readonly replicator: SiteClock; readonly vault: SiteClock };
  readonly #tell: (event: string) => void;

  constructor(options: {
    prng: Prng;
    swarm: SitesSwarm;
    oracle: SitesOracle;
    clocks: { readonly replicator: SiteClock; readonly vault: SiteClock };
    tell: (event: string) => void;
  }) {
    this.#prng = options.prng;
    this.#swarm = options.swarm;
    this.#oracle = options.oracle;
    this.#clocks = options.clocks;
    this.#tell = options.tell;
  }

  /** Between two calls. */
  turn({ replicator, vault }: { replicator: Site; vault: Site }): void {
    const { replicator: near, vault: far, clockJumpRate } = this.#swarm;
    if (happens(this.#prng, clockJumpRate)) this.#jump();
    if (happens(this.#prng, near.files.rotRate)) this.#rot(replicator, false);
    if (happens(this.#prng, far.files.rotRate)) this.#rot(vault, true);
  }

  /** Somebody emptied the spool's directory while the replicator lay dead. */
  maybeLoseSpool({ medium }: Site): void {
    if (!happens(this.#prng, this.#swarm.spool.goneRate)) return;
    const gone = medium.treeOf(spoolDirectory);
    if (gone.length === 0) return;
    this.#tell("the spool's directory is gone");
    medium.change(gone.map((path) => [path, null]));
    medium.syncDirectory("/");
    this.#oracle.excuseHole();
    this.#oracle.points.excuseResync();
  }

  #jump(): void {
    const isVault = happens(this.#prng, 0.5);
    const byMs = between(this.#prng, -jumpMsMax, jumpMsMax);
    this.#tell(`${isVault ? "the vault's" : "the replicator's"} clock jumps by ${byMs} ms`);
    if (!isVault) this.#oracle.jumps += 1;
    this.#clocks[isVault ? "vault" : "replicator"].jump(byMs);
  }

  #rot(site: Site, isVault: boolean): void {
    const found = site.medium.rot(this.#prng, () => true);
    if (!found) return;
    if (isVault) this.#oracle.points.isDamaged = true;
    else this.#oracle.excuseHole();
    this.#oracle.points.excuseResync();
    this.#tell(`a bit rots at the ${site.name}: ${found.path} at ${found.positionBytes}`);
  }
}
