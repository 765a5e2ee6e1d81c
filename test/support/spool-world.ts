import { Fault } from "../../src/base/fault.ts";
import type { FileSystem } from "../../src/base/file-system.ts";
import { memoryFileSystem } from "../../src/base/memory-file-system.ts";
import { MIB } from "../../src/base/units.ts";
import type { DiskName } from "../../src/core/ids.ts";
import type { JournalIntake, PointWriter, StagedDisk } from "../../src/core/journal.ts";
import type { LinkHealth } from "../../src/core/link.ts";
import type { Source } from "../../src/core/source.ts";
import { attach } from "../../src/engine/attach.ts";
import { type CycleOutcome, replicateOnce } from "../../src/engine/cycle.ts";
import type { PhaseHook } from "../../src/engine/phase.ts";
import { openSpool } from "../../src/engine/spool/spool.ts";
import type { SpoolEvent } from "../../src/engine/spool/spool-events.ts";
import { type SpooledIntake, spooledIntake } from "../../src/engine/spool/spooled-intake.ts";
import { syncGroup } from "../../src/engine/sync.ts";
import { KillableFiles } from "../../src/journal/killable-files-for-test.ts";
import { type EngineWorld, engineWorld, groupName } from "./engine-world.ts";

/** What a call across the link is about to do. */
export type LinkCall =
  | "ask"
  | "begin"
  | "write"
  | "zero"
  | "writeStored"
  | "adopt"
  | "seal"
  | "stage"
  | "staged"
  | "confirm";

/** A link whose calls fail before or after they have done their work, or hang. */
export class LinkForTest {
  isUp = true;
  bytesPerSecond: number | null = null;
  /** Every call that was made, in order. */
  readonly calls: LinkCall[] = [];
  /** Decides for each call; `lost-answer`: the vault did it and nobody heard. */
  fate: (call: LinkCall) => "fine" | "lost" | "lost-answer" | "hangs" | "late" = () => "fine";
  /** A late answer was true when it was given, and is heard when this resolves. */
  isHeard: Promise<void> = Promise.resolve();
  readonly #journal: () => JournalIntake;
  readonly #isDead: () => boolean;

  constructor(journal: () => JournalIntake, isDead: () => boolean) {
    this.#journal = journal;
    this.#isDead = isDead;
  }

  health(): LinkHealth {
    const { isUp, bytesPerSecond } = this;
    const counts = { sentBytes: 0, receivedBytes: 0, resentBytes: 0 };
    return { isUp, bytesPerSecond, sinceMs: 0, roundTripMs: 1, clock: null, ...counts };
  }

  intake(): JournalIntake {
    const journal = this.#journal;
    return {
      head: () => journal().head(),
      owedSince: () => null,
      ask: () => this.#call("ask", () => journal().ask()),
      begin: async (header) =>
        this.#writer(await this.#call("begin", () => journal().begin(header))),
      stage: async (request) =>
        this.#staged(await this.#call("stage", () => journal().stage(request))),
      confirmCurrent: (what) => this.#call("confirm", () => journal().confirmCurrent(what)),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  #writer(writer: PointWriter): PointWriter {
    return {
      write: (disk, at, data) => this.#call("write", () => writer.write(disk, at, data)),
      zero: (disk, at, length) => this.#call("zero", () => writer.zero(disk, at, length)),
      writeStored: (disk, chunk) =>
        this.#call("writeStored", () => writer.writeStored(disk, chunk)),
      adopt: (staged) =>
        this.#call("adopt", () => writer.adopt(stagedBehind.get(staged) ?? staged)),
      seal: (sealing) => this.#call("seal", () => writer.seal(sealing)),
      [Symbol.asyncDispose]: async () => writer[Symbol.asyncDispose](),
    };
  }

  #staged(staged: StagedDisk): StagedDisk {
    const call = <Value>(work: () => Promise<Value>) => this.#call("staged", work);
    const across: StagedDisk = {
      status: staged.status,
      hashes: (at, into) => call(() => staged.hashes(at, into)),
      write: (at, data) => call(() => staged.write(at, data)),
      zero: (at, length) => call(() => staged.zero(at, length)),
      checkpoint: (at) => call(() => staged.checkpoint(at)),
      discard: () => call(() => staged.discard()),
      [Symbol.asyncDispose]: async () => staged[Symbol.asyncDispose](),
    };
    stagedBehind.set(across, staged);
    return across;
  }

  async #call<Value>(call: LinkCall, work: () => Promise<Value>): Promise<Value> {
    this.calls.push(call);
    const fate = this.isUp && !this.#isDead() ? this.fate(call) : "lost";
    if (fate === "hangs") return new Promise(() => {});
    if (fate === "lost") throw new Fault("LINK_LOST", `injected at ${call}`);
    const value = await work();
    if (fate === "late") await this.isHeard;
    // A stream that nobody heard of is given up by the vault.
    if (fate === "lost-answer" && call === "begin") {
      await (value as AsyncDisposable)[Symbol.asyncDispose]();
    }
    if (fate === "lost-answer") throw new Fault("LINK_LOST", `injected after ${call}`);
    return value;
  }
}

const stagedBehind = new WeakMap<StagedDisk, StagedDisk>();
export const spoolDirectory = "/spool";
export const groupDirectory = `${spoolDirectory}/${groupName}`;

/** A replicator with a spool, and a vault across a link. */
export interface SpoolWorld extends EngineWorld {
  readonly link: LinkForTest;
  readonly events: SpoolEvent[];
  /** Beneath the spool: what happens there, and what is there. */
  readonly kills: KillableFiles;
  readonly files: FileSystem;
  capBytes: number;
  reserveBytes: number;
  holder: string;
  codecOf: (disk: DiskName) => "raw" | "zstd";
  /** In this life. */
  intake: SpooledIntake;
  /** The replicator is killed and another begins. */
  restartReplicator(): Promise<void>;
}

/** A world with an empty spool on files in memory. */
export async function spoolWorld(seed: number): Promise<SpoolWorld> {
  const world = await engineWorld(seed);
  const files = memoryFileSystem();
  const kills = new KillableFiles();
  const link = new LinkForTest(
    () => world.journal,
    () => isDead(kills),
  );
  const events: SpoolEvent[] = [];
  const open = async (): Promise<SpooledIntake> => {
    const { capBytes, reserveBytes, holder } = spooled;
    const { clock } = world;
    const wrapped = kills.wrap(files);
    const spool = await openSpool({
      ...{ files: wrapped, directory: spoolDirectory, capBytes, reserveBytes, clock },
    });
    return spooledIntake({
      spool,
      group: { name: groupName, holder },
      link: link.intake(),
      health: () => link.health(),
      codecOf: (disk) => spooled.codecOf(disk),
      clock,
      onEvent: (event) => events.push(event),
    });
  };
  const spooled = Object.assign(world, {
    ...{ link, events, kills, files },
    capBytes: 1024 * MIB,
    reserveBytes: 0,
    holder: world.group.holder,
    codecOf: (_disk: DiskName): "raw" | "zstd" => "raw",
    intake: null as unknown as SpooledIntake,
    restartReplicator: async () => {
      kills.killAt = null;
      spooled.intake = await open();
    },
  });
  spooled.intake = await open();
  return spooled;
}

/** Attaches, syncs what must be and cuts one point, by way of the spool or not. */
export async function cutOnce(
  world: SpoolWorld,
  options: { onPhase?: PhaseHook; dirtyBytes?: number } = {},
): Promise<CycleOutcome> {
  const source = mortal(world.connect().source, world.kills);
  const { clock, prng, group, intake: journal } = world;
  const { signal } = new AbortController();
  const hook = options.onPhase === undefined ? {} : { onPhase: options.onPhase };
  const attached = await attach({ source, journal, group, prng, signal });
  const standing = await syncGroup(attached.standing, { source, journal, clock, signal, ...hook });
  const dirtyBytes = options.dirtyBytes ?? null;
  return replicateOnce({
    ...{ source, journal, group, standing, clock, prng, signal, dirtyBytes },
    ...hook,
  });
}

/** From the first change of a file that did not happen on, a process that is killed does nothing at all. */
function isDead({ mode, killAt, changes }: KillableFiles): boolean {
  return mode === "killed" && killAt !== null && changes >= killAt;
}

/** A source that a dead process does not reach. */
function mortal(source: Source, kills: KillableFiles): Source {
  const alive = () => {
    if (isDead(kills)) throw new Fault("QMP_CLOSED", "the replicator is dead");
  };
  return {
    ...source,
    freeze: async (request) => {
      alive();
      const snapshot = await source.freeze(request);
      return {
        ...snapshot,
        release: async () => {
          alive();
          await snapshot.release();
        },
        forget: async (options) => {
          alive();
          await snapshot.forget(options);
        },
        [Symbol.asyncDispose]: async () => {
          if (!isDead(kills)) await snapshot[Symbol.asyncDispose]();
        },
      };
    },
  };
}

/** Lets the virtual clock run while `work` is under way. */
export async function inVirtualTime<Value>(
  world: EngineWorld,
  work: Promise<Value>,
): Promise<Value> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  work.then(over, over);
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!isOver) world.clock.advance();
  }
  return work;
}

/** Ships until nothing waits, or for so many turns of the event loop. */
export async function shipAll(world: SpoolWorld, turnsMax = 300): Promise<void> {
  const stop = new AbortController();
  const running = world.intake.run({ signal: stop.signal });
  let isOver = false;
  running
    .finally(() => {
      isOver = true;
    })
    .catch(() => {});
  for (let turn = 0; turn < turnsMax && !isOver; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (world.intake.status().points === 0) break;
    world.clock.advance();
  }
  stop.abort();
  await running;
}
