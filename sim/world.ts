import { Fault, isFault } from "../src/base/fault.ts";
import { type Prng, seededPrng } from "../src/base/prng.ts";
import { type DiskName, type GroupName, machineOf, parseGroupName } from "../src/core/ids.ts";
import { faultOf } from "../src/engine/fault-of.ts";
import { between, happens, pick } from "./chance.ts";
import { type VirtualClock, virtualClock } from "./clock.ts";
import { drive } from "./drive.ts";
import { Estate } from "./estate.ts";
import { type FileOperation, type Misfortune, simFileSystem } from "./file-system.ts";
import { live } from "./life.ts";
import { Medium } from "./medium.ts";
import { BrokenPromise, Oracle } from "./oracle.ts";
import { type MakeSeams, noSeams, type WorldSeams } from "./seams.ts";
import { simSource } from "./source.ts";
import { type Life, makeScheduler, type Scheduler } from "./steps.ts";
import { Surroundings } from "./surroundings.ts";
import { drawSwarm, type Swarm } from "./swarm.ts";
import type { VaultUnderTest } from "./vault.ts";

const livesMax = 3;
const cyclesPerLifeMax = 6;
const lifeDurationMs = 120_000;
/** With all faults off a group must reach so many fresh points in its time. */
const calmCycles = 2;
const traceLinesMax = 20_000;

export interface WorldResult {
  readonly seed: number;
  /** What was broken, or null. */
  readonly failure: Error | null;
  readonly trace: readonly string[];
  readonly points: number;
  readonly lives: number;
  readonly steps: number;
}

export interface WorldOptions {
  readonly seed: number;
  readonly vault: (medium: Medium) => VaultUnderTest;
  readonly seams?: MakeSeams;
}

/** One world from its seed to its end. Never rejects: what broke is in the result. */
export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const world = new World(options);
  let failure: Error | null = null;
  try {
    await world.run();
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
  }
  return { seed: options.seed, failure, ...world.figures() };
}

class World {
  readonly #prng: Prng;
  readonly #swarm: Swarm;
  readonly #seed: number;
  readonly #seams: WorldSeams;
  readonly #vault: VaultUnderTest;
  readonly #medium = new Medium();
  readonly #clock: VirtualClock = virtualClock();
  readonly #estate = new Estate();
  readonly #oracle = new Oracle({ onAcknowledged: (id) => this.#surroundings.noteSealed(id) });
  readonly #surroundings: Surroundings;
  readonly #scheduler: Scheduler;
  readonly #group = parseGroupName("erp") as GroupName;
  readonly #trace: string[] = [];
  #disks: DiskName[] = [];
  #lives = 0;
  #steps = 0;
  #isCalm = false;
  /** So many changes more find no room. */
  #fullFor = 0;

  constructor({ seed, vault, seams }: WorldOptions) {
    this.#seed = seed;
    this.#prng = seededPrng(seed);
    this.#swarm = drawSwarm(this.#prng);
    this.#vault = vault(this.#medium);
    const tell = (event: string) => this.#tell(`  ${event}`);
    this.#tell(`swarm ${JSON.stringify(this.#swarm)}`);
    this.#surroundings = new Surroundings({
      prng: this.#prng,
      swarm: this.#swarm,
      estate: this.#estate,
      clock: this.#clock,
      group: this.#group,
      tell,
      excuse: () => this.#excuse(),
      isPoint: (id) => this.#oracle.isInstant(id),
    });
    this.#scheduler = makeScheduler({
      prng: this.#prng,
      onTurn: (label, life) => this.#onTurn(label, life),
    });
    this.#seams = { ...noSeams, ...seams?.({ estate: this.#estate, group: this.#group }) };
    this.#surroundings.build();
    this.#disks = [...this.#estate.disks.keys()];
  }

  figures() {
    const points = this.#oracle.acknowledgedCount;
    return { trace: this.#trace, points, lives: this.#lives, steps: this.#steps };
  }

  async run(): Promise<void> {
    const lives = between(this.#prng, 1, livesMax);
    for (let count = 0; count < lives; count += 1) {
      if (this.#lives > 0 && happens(this.#prng, this.#swarm.estate.regroupRate)) this.#regroup();
      await this.#liveOnce(between(this.#prng, 1, cyclesPerLifeMax));
    }
    this.#isCalm = true;
    for (const machine of this.#estate.machines.values()) {
      if (!machine.isRunning) this.#surroundings.start(machine.name);
    }
    this.#tell("all is calm");
    const sealed = await this.#liveOnce(calmCycles);
    if (this.#oracle.isDamaged) return;
    if (sealed < calmCycles) throw new BrokenPromise("no fresh points though all is calm");
    // A sync that was given up may have left a bitmap until the next start.
    await this.#liveOnce(1);
    this.#checkNothingIsLeft();
  }

  /** One process of ours, from its start to its clean end or its death. Returns the points it sealed. */
  async #liveOnce(cycles: number): Promise<number> {
    this.#lives += 1;
    const life = this.#scheduler.life(`${this.#lives}`);
    this.#tell(`life ${this.#lives} begins, for ${cycles} cycles`);
    let end: { readonly error: unknown; readonly sealed: number } | null = null;
    this.#process(life, cycles).then(
      (sealed) => {
        end = { error: null, sealed };
      },
      (error: unknown) => {
        end = { error, sealed: 0 };
      },
    );
    await drive(
      { scheduler: this.#scheduler, clock: this.#clock, onWait: () => this.#onWait() },
      () => end !== null || life.isOver(),
    );
    const ended = end as { readonly error: unknown; readonly sealed: number } | null;
    if (life.isOver() || ended === null) return 0;
    life.crash();
    this.#vault.kill();
    if (ended.error === null) return ended.sealed;
    // A vault that cannot be opened is a promise broken, unless its medium is damaged or the call itself failed.
    const fault = faultOf(ended.error);
    if (fault === null) throw ended.error;
    this.#tell(`life ${this.#lives} ends with ${fault.code} ${fault.message}`);
    const isMishap = isFault(fault, "STORAGE_FULL", "STORAGE_FAILED") && !this.#isCalm;
    if (!isMishap && !this.#oracle.isDamaged) throw ended.error;
    return 0;
  }

  async #process(life: Life, cycles: number): Promise<number> {
    const { files, source } = this.#ports(life);
    const prng = seededPrng(this.#seed * 1_000 + this.#lives);
    const room = {
      files,
      clock: this.#clock,
      prng,
      dice: this.#prng,
      group: this.#group,
      swarm: this.#swarm,
      oracle: this.#oracle,
      locks: this.#seams.locks,
      tell: (event: string) => this.#tell(`  ${event}`),
    };
    await using vault = this.#seams.vault(await this.#vault.open(room));
    return await live({
      source,
      vault,
      group: this.#group,
      clock: this.#clock,
      prng,
      dice: this.#prng,
      swarm: this.#swarm,
      oracle: this.#oracle,
      cycles,
      isLast: this.#isCalm,
      durationMs: lifeDurationMs,
      betweenCycles: () => this.#surroundings.burst(),
      tell: room.tell,
    });
  }

  #ports(life: Life) {
    const clock = this.#clock;
    const source = simSource({
      estate: this.#estate,
      group: this.#group,
      disks: this.#disks,
      clock,
      steps: life,
      scratchBlocksMax: this.#swarm.source.scratchBlocksMax,
      onInstant: (id, images) => {
        this.#oracle.noteInstant(id, images);
        this.#surroundings.noteInstant(id);
      },
    });
    const files = simFileSystem({
      medium: this.#medium,
      clock,
      steps: life,
      strike: (operation, path) => this.#strike(operation, path),
      failSync: (content) => content.failSync(this.#prng),
    });
    return { files: this.#seams.files(files), source: this.#seams.source(source) };
  }

  /** Between any two calls: the estate lives on, and our process may die here, or the call fail. */
  #onTurn(label: string, life: Life): Error | null {
    this.#steps += 1;
    this.#tell(label);
    if (this.#isCalm) return null;
    this.#surroundings.turn();
    const { crash, source, files } = this.#swarm;
    if (happens(this.#prng, files.rotRate)) this.#rot();
    const isNear = crash.near !== null && label.includes(crash.near);
    if (happens(this.#prng, crash.killRate) || (isNear && happens(this.#prng, crash.nearRate))) {
      this.#crash(life);
      return null;
    }
    const isSource = !label.startsWith("files.");
    if (isSource && happens(this.#prng, source.failRate)) {
      this.#tell("  fails");
      return new Fault(pick(this.#prng, ["TIMEOUT", "QMP_REFUSED"]), `${label} fails`);
    }
    return null;
  }

  /** Something happened that may cost a disk its tracking. */
  #excuse(): void {
    this.#oracle.excuseResync();
  }

  /** All work waits: time passes, and with it life on the estate. */
  #onWait(): void {
    if (!this.#isCalm) this.#surroundings.turn();
  }

  #crash(life: Life): void {
    const isPowerCut = happens(this.#prng, this.#swarm.crash.powerCutRate);
    this.#tell(isPowerCut ? "-- power cut --" : "-- killed --");
    life.crash();
    this.#vault.kill();
    this.#estate.releaseBarrier();
    if (isPowerCut) this.#medium.crash(this.#prng, this.#swarm.crash.severity);
  }

  #strike(operation: FileOperation, path: string): Misfortune {
    if (this.#isCalm) return "none";
    const { fullRate, failRate, lostSyncRate } = this.#swarm.files;
    const isSync = operation === "sync" || operation === "sync-directory";
    if (isSync && canLie(path) && happens(this.#prng, lostSyncRate)) {
      this.#oracle.isDamaged = true;
      return this.#told("lost");
    }
    const changes = isSync || operation === "write" || operation === "names";
    const mayFill = operation === "write" || operation === "names";
    if (mayFill && this.#fullFor > 0) {
      this.#fullFor -= 1;
      return this.#told("full");
    }
    if (mayFill && happens(this.#prng, fullRate)) {
      // Often it stays full for a while.
      this.#fullFor = pick(this.#prng, [0, 0, 5, 40]);
      return this.#told("full");
    }
    if (!happens(this.#prng, failRate)) return "none";
    return this.#told(changes && happens(this.#prng, 0.4) ? "unanswered" : "failed");
  }

  #told(misfortune: Misfortune): Misfortune {
    this.#excuse();
    this.#tell(`  ${misfortune}`);
    return misfortune;
  }

  #rot(): void {
    const found = this.#medium.rot(this.#prng, () => true);
    if (!found) return;
    this.#oracle.isDamaged = true;
    this.#excuse();
    this.#tell(`  a bit rots in ${found.path} at ${found.positionBytes}`);
  }

  /** A disk joins or leaves the group. */
  #regroup(): void {
    this.#excuse();
    if (this.#disks.length > 1 && happens(this.#prng, 0.5)) {
      const gone = pick(this.#prng, this.#disks);
      this.#disks = this.#disks.filter((disk) => disk !== gone);
      this.#tell(`${gone} leaves the group`);
      if (happens(this.#prng, 0.5)) this.#estate.removeDisk(gone);
      return;
    }
    const outside = [...this.#estate.disks.keys()].filter((disk) => !this.#disks.includes(disk));
    const back = outside.length > 0 && happens(this.#prng, 0.5) ? pick(this.#prng, outside) : null;
    this.#disks = [...this.#disks, back ?? this.#surroundings.addDisk()];
    this.#tell(`${this.#disks.at(-1)} joins the group`);
  }

  /** After a clean end only the head's bitmaps are left on the disks, and nothing unfinished in the vault. */
  #checkNothingIsLeft(): void {
    const left: string[] = [...this.#estate.scratchFiles];
    // A machine whose last disk left the group is not asked any more: what it has stays until somebody removes it.
    const machines = new Set(this.#disks.map(machineOf));
    for (const disk of this.#estate.disks.values()) {
      if (!machines.has(machineOf(disk.name))) continue;
      if (disk.fleece) left.push(`point in time on ${disk.name}`);
      const ours = [...disk.bitmaps.keys()];
      if (ours.length > 1) left.push(`${ours.join(", ")} on ${disk.name}`);
    }
    const passing = /\/(incoming|staged|pins)\/./;
    left.push(...this.#medium.paths().filter((path) => passing.test(path)));
    if (left.length > 0) throw new BrokenPromise(`left behind: ${left.join("; ")}`);
  }

  #tell(event: string): void {
    if (this.#trace.length >= traceLinesMax) this.#trace.splice(0, traceLinesMax / 2);
    this.#trace.push(`${String(this.#steps).padStart(6)} ${event}`);
  }
}

/** Old data beside its old hash cannot be told from new: nothing is promised for a base whose medium lies. */
function canLie(path: string): boolean {
  return !path.includes("/base/") && !path.includes("/staged/");
}
