import { Fault } from "../../src/base/fault.ts";
import type { Prng } from "../../src/base/prng.ts";
import { between, happens, pick } from "../chance.ts";
import type { FileOperation, Misfortune } from "../file-system.ts";
import type { Network } from "../network.ts";
import type { FilesSwarm, NetworkSwarm } from "./swarm.ts";

/** What the network does between two calls. */
export function troubleNetwork(
  network: Network,
  { prng, swarm, tell }: { prng: Prng; swarm: NetworkSwarm; tell: (event: string) => void },
): void {
  const during = (longestMs: number) => between(prng, 1, longestMs);
  if (happens(prng, swarm.cutOneRate)) {
    tell("a connection is cut");
    network.cutOne();
  }
  if (happens(prng, swarm.cutAllRate)) {
    tell("all connections are cut");
    network.cutAll();
  }
  if (!network.isDown && happens(prng, swarm.downRate)) {
    const durationMs = during(swarm.downMsMax);
    tell(`the network is down for ${durationMs} ms`);
    network.goDown(durationMs);
  }
  if (happens(prng, swarm.stallRate)) {
    const durationMs = during(swarm.stallMsMax);
    tell(`the network stalls for ${durationMs} ms`);
    network.stall(durationMs);
  }
  if (happens(prng, swarm.silentRate)) {
    tell("new connections are never answered, for a while");
    network.fallSilent(during(30_000));
  }
  if (happens(prng, swarm.revokedRate)) {
    tell("the replicator is revoked, for a while");
    network.refuse(during(20_000));
  }
  if (happens(prng, swarm.garbageRate)) {
    tell("a peer says something that means nothing");
    network.garble();
  }
}

/** What happens to one site's files. */
export class FileTrouble {
  readonly #prng: Prng;
  readonly #swarm: FilesSwarm;
  readonly #canLie: (path: string) => boolean;
  /** So many changes more find no room. */
  #fullFor = 0;

  constructor(options: { prng: Prng; swarm: FilesSwarm; canLie: (path: string) => boolean }) {
    this.#prng = options.prng;
    this.#swarm = options.swarm;
    this.#canLie = options.canLie;
  }

  strike(operation: FileOperation, path: string): Misfortune {
    const prng = this.#prng;
    const { fullRate, failRate, lostSyncRate } = this.#swarm;
    const isSync = operation === "sync" || operation === "sync-directory";
    if (isSync && this.#canLie(path) && happens(prng, lostSyncRate)) return "lost";
    const mayFill = operation === "write" || operation === "names";
    if (mayFill && this.#fullFor > 0) {
      this.#fullFor -= 1;
      return "full";
    }
    if (mayFill && happens(prng, fullRate)) {
      this.#fullFor = pick(prng, [0, 0, 5, 40]);
      return "full";
    }
    if (!happens(prng, failRate)) return "none";
    return (isSync || mayFill) && happens(prng, 0.4) ? "unanswered" : "failed";
  }
}

/** How a call to a machine fails. */
export function sourceFault(prng: Prng, label: string): Fault {
  return new Fault(pick(prng, ["TIMEOUT", "QMP_REFUSED"]), `${label} fails`);
}
