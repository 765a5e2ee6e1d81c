import { isFault } from "../../src/base/fault.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { Peer } from "../../src/core/channel.ts";
import { faultOf } from "../../src/engine/fault-of.ts";
import { happens, pick } from "../chance.ts";
import type { Parting, Party } from "../channel-pair.ts";
import { Medium } from "../medium.ts";
import type { Network } from "../network.ts";
import { BrokenPromise } from "../oracle.ts";
import type { Life, Scheduler } from "../steps.ts";
import type { CrashSwarm } from "./swarm.ts";

/** What a process of a site is given to live with. */
export interface SiteProcess extends Party {
  readonly life: Life;
  /** Aborts when it is told to stop in order. */
  readonly signal: AbortSignal;
  /** Counts a site's processes from 1. */
  readonly number: number;
}

/** One host: what it stores, and the process that runs on it, one life after another. */
export class Site {
  readonly name: string;
  readonly medium = new Medium();
  readonly peer: Peer;
  readonly #scheduler: Scheduler;
  readonly #network: Network;
  readonly #tell: (event: string) => void;
  readonly #mayBreak: () => boolean;
  readonly #run: (process: SiteProcess) => Promise<void>;
  #process: { readonly party: SiteProcess; readonly stop: AbortController } | null = null;
  #lives = 0;
  #isWanted = false;
  /** What ended the world, when a process died of something that is no Fault. */
  bug: unknown = null;

  constructor(options: {
    name: string;
    peer: Peer;
    scheduler: Scheduler;
    network: Network;
    tell: (event: string) => void;
    /** Whether what it stores may be broken beyond use. */
    mayBreak?: () => boolean;
    /** A whole life, from the start to the orderly end. */
    run: (process: SiteProcess) => Promise<void>;
  }) {
    this.name = options.name;
    this.peer = options.peer;
    this.#scheduler = options.scheduler;
    this.#network = options.network;
    this.#tell = options.tell;
    this.#mayBreak = options.mayBreak ?? (() => false);
    this.#run = options.run;
  }

  get lives(): number {
    return this.#lives;
  }

  get isRunning(): boolean {
    return this.#process !== null;
  }

  owns(life: Life): boolean {
    return this.#process?.party.life === life;
  }

  /** Whether it is to be started again when it dies. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  start(): void {
    this.#isWanted = true;
    this.#lives += 1;
    const life = this.#scheduler.life(`${this.name} ${this.#lives}`);
    const stop = new AbortController();
    const isOver = life.isOver;
    const party = { peer: this.peer, life, isOver, signal: stop.signal, number: this.#lives };
    this.#process = { party, stop };
    this.#tell(`${this.name} starts, life ${this.#lives}`);
    this.#run(party).then(
      () => this.#ended(party, null),
      (error: unknown) => this.#ended(party, error),
    );
  }

  /** As SIGTERM: the process ends in its own time. */
  stop(): void {
    this.#isWanted = false;
    this.#process?.stop.abort();
  }

  /** The process is gone between two instructions; with the power also what was not synced. */
  crash(prng: Prng, swarm: CrashSwarm): void {
    if (this.#process === null) return;
    const isPowerCut = happens(prng, swarm.powerCutRate);
    this.#tell(`-- ${this.name}: ${isPowerCut ? "power cut" : "killed"} --`);
    this.#leave(isPowerCut ? "silence" : pick(prng, ["close", "reset"]));
    if (isPowerCut) this.medium.crash(prng, swarm.severity);
  }

  #ended(party: SiteProcess, error: unknown): void {
    if (this.#process?.party !== party) return;
    const why = error instanceof Error ? ` with ${error.message}` : "";
    this.#tell(`${this.name} ends${why}`);
    this.#leave("close");
    if (error !== null && faultOf(error) === null) this.bug = error;
    if (isFault(error, "LEDGER_CORRUPT", "VAULT_BUSY") && !this.#mayBreak()) this.bug = error;
    if (error instanceof BrokenPromise) this.bug = error;
  }

  #leave(parting: Parting): void {
    const process = this.#process;
    if (process === null) return;
    this.#process = null;
    process.party.life.crash();
    this.#network.part(process.party, parting);
  }
}
