import { type Prng, seededPrng } from "../../src/base/prng.ts";
import { type DiskName, type GroupName, parseGroupName } from "../../src/core/ids.ts";
import type { VaultLocks } from "../../src/journal/vault-locks.ts";
import { between, happens } from "../chance.ts";
import { type VirtualClock, virtualClock } from "../clock.ts";
import { directoryVaultUnderTest } from "../directory-vault.ts";
import { drive } from "../drive.ts";
import { Estate } from "../estate.ts";
import { simFileSystem } from "../file-system.ts";
import { Network } from "../network.ts";
import { BrokenPromise } from "../oracle.ts";
import { type Life, makeScheduler, type Scheduler } from "../steps.ts";
import { Surroundings } from "../surroundings.ts";
import type { OpenVault, VaultUnderTest } from "../vault.ts";
import type { WorldResult } from "../world.ts";
import { Decay } from "./decay.ts";
import { leftBehind } from "./left-behind.ts";
import { FileTrouble, sourceFault, troubleNetwork } from "./misfortunes.ts";
import { SitesOracle } from "./oracle.ts";
import { replicatorPeer, rivalPeer, vaultPeer } from "./peers.ts";
import { replicatorProcess, rivalProcess, type Stage, vaultProcess } from "./processes.ts";
import { type MakeSitesSeams, noSitesSeams, type SitesSeams } from "./seams.ts";
import { Site } from "./site.ts";
import { SiteClock } from "./site-clock.ts";
import { drawSitesSwarm, type SitesSwarm } from "./swarm.ts";
import { Takeover } from "./takeover.ts";

const group = parseGroupName("erp") as GroupName;
/** With all faults off so many fresh points must reach the vault in this time. */
const calmPoints = 2;
const calmMsMax = 1_800_000;
const stormCallsMax = 1_000;
const traceLinesMax = 20_000;
/** Chance that a guest writes between what a count of dirty blocks says and its answer. */
const writesBehindRate = 0.2;
const skewMsMax = 5_000;

/** One world of two sites from its seed to its end. Never rejects: what broke is in the result. */
export async function runSitesWorld(options: {
  seed: number;
  seams?: MakeSitesSeams;
}): Promise<WorldResult> {
  const world = new SitesWorld(options);
  let failure: Error | null = null;
  const restore = world.seams.patch();
  try {
    await world.run();
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
  } finally {
    restore();
  }
  return { seed: options.seed, failure, ...world.figures() };
}

class SitesWorld {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #swarm: SitesSwarm;
  readonly #clock: VirtualClock = virtualClock();
  readonly #estate = new Estate();
  readonly #network: Network;
  readonly #scheduler: Scheduler;
  readonly #oracle: SitesOracle;
  readonly #surroundings: Surroundings;
  readonly #clocks: { readonly replicator: SiteClock; readonly vault: SiteClock };
  readonly #replicator: Site;
  readonly #vault: Site;
  readonly #rival: Site;
  readonly #decay: Decay;
  readonly #takeover: Takeover;
  readonly #vaultUnderTest: VaultUnderTest;
  readonly #troubles: { readonly replicator: FileTrouble; readonly vault: FileTrouble };
  readonly seams: SitesSeams;
  readonly #stage: Stage;
  readonly #trace: string[] = [];
  #disks: DiskName[] = [];
  #steps = 0;
  /** Points in the spool, as the replicator says. */
  #waiting = 0;
  #isCalm = false;
  /** When a site that lies dead is started again, on the world's clock. */
  readonly #startAtMs = new Map<Site, number>();

  constructor({ seed, seams }: { seed: number; seams?: MakeSitesSeams }) {
    this.#seed = seed;
    const prng = seededPrng(seed);
    this.#prng = prng;
    const swarm = drawSitesSwarm(prng);
    this.#swarm = swarm;
    const clock = this.#clock;
    const tell = (event: string) => this.#tell(`  ${event}`);
    this.#tell(`swarm ${JSON.stringify(swarm)}`);
    this.#network = new Network({ clock, prng, weather: swarm.network.weather });
    const skewMs = between(prng, -skewMsMax, skewMsMax);
    this.#clocks = { replicator: new SiteClock(clock, 0), vault: new SiteClock(clock, skewMs) };
    this.#scheduler = makeScheduler({ prng, onTurn: (label, life) => this.#onTurn(label, life) });
    this.#oracle = new SitesOracle({
      clock,
      site: this.#clocks.replicator,
      imagesNow: () => this.#imagesNow(),
      holder: replicatorPeer.id,
      onSafe: (id) => this.#surroundings.noteSealed(id),
    });
    this.#surroundings = new Surroundings({
      prng,
      swarm: swarm.estate,
      estate: this.#estate,
      clock: this.#clocks.replicator,
      group,
      tell,
      excuse: () => this.#oracle.points.excuseResync(),
      isPoint: (id) => this.#oracle.points.isInstant(id),
    });
    this.#decay = new Decay({ prng, swarm, oracle: this.#oracle, clocks: this.#clocks, tell });
    this.#takeover = new Takeover({
      holder: replicatorPeer.id,
      rival: rivalPeer.id,
      prng,
      rate: swarm.takeoverRate,
      onTaken: () => this.#onTaken(),
      onGivenBack: () => this.#letRun(),
    });
    this.seams = {
      ...noSitesSeams,
      ...seams?.({ estate: this.#estate, group, nowMs: () => this.#clocks.replicator.nowMs() }),
    };
    const site = { scheduler: this.#scheduler, network: this.#network, tell };
    const mayBreak = () => this.#oracle.points.isDamaged;
    const sites = makeSites({ ...site, mayBreak }, () => this.#stage);
    this.#vault = sites.vault;
    this.#replicator = sites.replicator;
    this.#rival = sites.rival;
    this.#vaultUnderTest = directoryVaultUnderTest(this.#vault.medium);
    this.#troubles = {
      replicator: new FileTrouble({ prng, swarm: swarm.replicator.files, canLie: () => true }),
      // Old data beside its old hash cannot be told from new: nothing is promised for a base whose medium lies.
      vault: new FileTrouble({ prng, swarm: swarm.vault.files, canLie: isTold }),
    };
    this.#stage = {
      ...{ seed, prng, swarm, estate: this.#estate, clocks: this.#clocks, group, tell },
      ...{ network: this.#network, oracle: this.#oracle, surroundings: this.#surroundings },
      ...{ vault: this.#vaultUnderTest, troubles: this.#troubles, takeover: this.#takeover },
      media: { vault: this.#vault.medium, replicator: this.#replicator.medium },
      seams: this.seams,
      disks: () => this.#disks,
      isCalm: () => this.#isCalm,
      nowMs: () => this.#nowMs(),
      onWaiting: (points) => {
        this.#waiting = points;
      },
    };
    this.#surroundings.build();
    this.#disks = [...this.#estate.disks.keys()];
    this.#estate.onChange = (disk) => {
      if (this.#disks.includes(disk)) this.#oracle.noteChange();
    };
  }

  figures() {
    const points = this.#oracle.points.acknowledgedCount;
    const lives = this.#replicator.lives + this.#vault.lives;
    return { trace: this.#trace, points, lives, steps: this.#steps };
  }

  async run(): Promise<void> {
    this.#vault.start();
    this.#replicator.start();
    const { stormMs } = this.#swarm;
    await this.#drive(() => this.#nowMs() >= stormMs || this.#steps >= stormCallsMax);
    this.#becalm();
    if (!(await this.#reachFreshPoints()) && !this.#oracle.points.isDamaged) {
      throw new BrokenPromise(`no fresh points though all is calm; ${this.#whatIsLeft()}`);
    }
    await this.#stop(this.#replicator);
    if (this.#oracle.points.isDamaged) return;
    // A sync that was given up may have left a bitmap until the next start.
    this.#replicator.start();
    if (!(await this.#reachFreshPoints())) {
      throw new BrokenPromise(`no point after a restart; ${this.#whatIsLeft()}`);
    }
    await this.#stop(this.#replicator);
    await this.#stop(this.#vault);
    await this.#checkVault();
    const left = this.#whatIsLeft();
    if (left !== "") throw new BrokenPromise(`left behind: ${left}`);
  }

  /** All works as it should from now on, and what lies dead is started. */
  #becalm(): void {
    this.#isCalm = true;
    this.#tell("all is calm");
    this.#network.calm();
    this.#network.setWeather({ latencyMs: 1, jitterMs: 0, bytesPerSecond: null });
    for (const machine of this.#estate.machines.values()) {
      if (!machine.isRunning) this.#surroundings.start(machine.name);
    }
    this.#letRun();
    for (const site of [this.#vault, this.#replicator]) if (!site.isRunning) site.start();
  }

  /** Another holds the group now: bitmaps and spool are of a history that is not gone on with. */
  #onTaken(): void {
    this.#tell("  the group is handed to another");
    this.#oracle.points.excuseResync();
    if (!this.#rival.isRunning) this.#rival.start();
  }

  /** A person lets machines run that a stale replicator had paused. */
  #letRun(): void {
    this.#tell("  the group is the replicator's");
    this.#oracle.points.excuseResync();
    for (const machine of this.#estate.machines.values()) machine.isPausedForGood = false;
  }

  /** Runs until the vault holds points that were taken from now on and nothing waits; false when that does not happen in time. */
  async #reachFreshPoints(): Promise<boolean> {
    const untilMs = this.#nowMs() + calmMsMax;
    const heldBefore = this.#oracle.points.acknowledgedCount;
    const isReached = () =>
      this.#oracle.points.acknowledgedCount >= heldBefore + calmPoints &&
      this.#waiting === 0 &&
      this.#oweNothing();
    await this.#drive(() => isReached() || this.#nowMs() > untilMs);
    return isReached();
  }

  async #stop(site: Site): Promise<void> {
    site.stop();
    const untilMs = this.#nowMs() + calmMsMax;
    await this.#drive(() => !site.isRunning || this.#nowMs() > untilMs);
    if (site.isRunning) throw new BrokenPromise(`${site.name} does not end when it is told to`);
  }

  async #drive(isDone: () => boolean): Promise<void> {
    const { scheduler, clock } = { scheduler: this.#scheduler, clock: this.#clock };
    const bug = () =>
      this.#oracle.broken ?? this.#vault.bug ?? this.#replicator.bug ?? this.#rival.bug;
    await drive({ scheduler, clock, onWait: () => this.#onWait() }, () => {
      this.#seeToTheDead();
      return bug() !== null || isDone();
    });
    if (bug() !== null) throw bug();
  }

  /** Between any two calls: both sites and what lies between live on, and the caller may die here, or the call fail. */
  #onTurn(label: string, life: Life): Error | null {
    this.#steps += 1;
    const site = this.#vault.owns(life) ? this.#vault : this.#replicator;
    this.#tell(`${site.name} ${label}`);
    if (label === "source.dirty answered" && happens(this.#prng, writesBehindRate)) {
      // While the answer is on its way.
      this.#surroundings.burst();
      this.#clock.advanceBy(between(this.#prng, 1, 20));
    }
    if (this.#isCalm) return null;
    this.#trouble();
    const callMs = this.#swarm.callMsMax;
    if (callMs > 0) this.#clock.advanceBy(between(this.#prng, 0, callMs));
    if (life.isOver()) return null;
    const { crash } = site === this.#vault ? this.#swarm.vault : this.#swarm.replicator;
    const isNear = crash.near !== null && label.includes(crash.near);
    if (happens(this.#prng, crash.killRate) || (isNear && happens(this.#prng, crash.nearRate))) {
      this.#crash(site);
      return null;
    }
    const isSource = site === this.#replicator && !label.startsWith("files.");
    if (isSource && happens(this.#prng, this.#swarm.sourceFailRate)) {
      this.#tell("  fails");
      return sourceFault(this.#prng, label);
    }
    return null;
  }

  /** All work waits: time passes, and with it life at both sites. */
  #onWait(): void {
    // A replicator that heard late that it was overtaken pauses machines after the group was given back.
    if (this.#isCalm) for (const one of this.#estate.machines.values()) one.isPausedForGood = false;
    if (!this.#isCalm) this.#trouble();
  }

  #trouble(): void {
    this.#surroundings.turn();
    const prng = this.#prng;
    troubleNetwork(this.#network, {
      prng,
      swarm: this.#swarm.network,
      tell: (event) => this.#tell(`  ${event}`),
    });
    this.#decay.turn({ replicator: this.#replicator, vault: this.#vault });
    const mayRival = !this.#rival.isRunning && this.#oracle.points.acknowledgedCount > 0;
    if (mayRival && happens(prng, this.#swarm.rivalRate)) this.#rival.start();
  }

  #crash(site: Site): void {
    const { crash } = site === this.#vault ? this.#swarm.vault : this.#swarm.replicator;
    site.crash(this.#prng, crash);
    if (site === this.#vault) this.#vaultUnderTest.kill();
    else {
      this.#oracle.notePowerCut();
      this.#estate.releaseBarrier();
    }
  }

  /** Whoever died is started again after a while. */
  #seeToTheDead(): void {
    for (const site of [this.#vault, this.#replicator]) {
      if (site.isRunning || !site.isWanted) {
        this.#startAtMs.delete(site);
        continue;
      }
      const { crash } = site === this.#vault ? this.#swarm.vault : this.#swarm.replicator;
      const atMs = this.#startAtMs.get(site);
      if (atMs === undefined) {
        const awayMs = this.#isCalm ? 1_000 : between(this.#prng, 0, crash.awayMsMax);
        this.#startAtMs.set(site, this.#nowMs() + awayMs);
        // Somebody has to wait for it.
        void this.#clock.sleep(awayMs);
      } else if (this.#nowMs() >= atMs) {
        this.#startAtMs.delete(site);
        if (site === this.#replicator && !this.#isCalm) this.#decay.maybeLoseSpool(site);
        site.start();
      }
    }
  }

  #imagesNow() {
    return new Map(this.#disks.map((name) => [name, this.#estate.disk(name).image] as const));
  }

  #whatIsLeft(): string {
    const media = { vault: this.#vault.medium, replicator: this.#replicator.medium };
    return leftBehind({ estate: this.#estate, ...media }).join("; ");
  }

  /** The head's bitmap is the only one. */
  #oweNothing(): boolean {
    return [...this.#estate.disks.values()].every(({ bitmaps }) => bitmaps.size <= 1);
  }

  /** The vault as it would be opened by people, with all that it must hold. */
  async #checkVault(): Promise<void> {
    const life = this.#scheduler.life("check");
    const clock = this.#clocks.vault.forLife(life);
    const files = simFileSystem({ medium: this.#vault.medium, clock });
    const room = {
      files,
      clock,
      prng: seededPrng(this.#seed),
      dice: this.#prng,
      group,
      swarm: { vault: this.#swarm },
      oracle: this.#oracle.points,
      locks: (locks: VaultLocks) => locks,
      tell: (event: string) => this.#tell(`  ${event}`),
    };
    await using vault: OpenVault = await this.#vaultUnderTest.open(room);
    await this.#oracle.points.checkEverything(vault.journal, vault);
    this.#oracle.checkArrived(vault.journal);
  }

  #nowMs(): number {
    return this.#clock.monotonicMs();
  }

  #tell(event: string): void {
    if (this.#trace.length >= traceLinesMax) this.#trace.splice(0, traceLinesMax / 2);
    const atMs = String(Math.round(this.#nowMs())).padStart(7);
    this.#trace.push(`${String(this.#steps).padStart(5)} ${atMs} ms ${event}`);
  }
}

type SiteRoom = Pick<ConstructorParameters<typeof Site>[0], "scheduler" | "network" | "tell">;

/** The three hosts of a world; only the vault's may be broken beyond use. */
function makeSites(
  { mayBreak, ...room }: SiteRoom & { mayBreak: () => boolean },
  stage: () => Stage,
): { readonly vault: Site; readonly replicator: Site; readonly rival: Site } {
  const vault = { name: "vault", peer: vaultPeer, mayBreak };
  const replicator = { name: "replicator", peer: replicatorPeer };
  const rival = { name: "rival", peer: rivalPeer };
  return {
    vault: new Site({ ...room, ...vault, run: (process) => vaultProcess(stage(), process) }),
    replicator: new Site({
      ...room,
      ...replicator,
      run: (process) => replicatorProcess(stage(), process),
    }),
    rival: new Site({ ...room, ...rival, run: (process) => rivalProcess(stage(), process) }),
  };
}

function isTold(path: string): boolean {
  return !path.includes("/base/") && !path.includes("/staged/");
}
