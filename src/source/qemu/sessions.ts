import assert from "node:assert/strict";
import { basename, join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { Fault, isFault } from "../../base/fault.ts";
import type { GroupName } from "../../core/ids.ts";
import { daemonPrefix, ownCredentials, ownNames, ownSocketFile } from "../../qemu/own-names.ts";
import { type StorageDaemon, startStorageDaemon } from "../../qemu/storage-daemon.ts";
import type { Connector } from "./connector.ts";
import { diskNameOf } from "./disk-place.ts";
import { KeptOpen } from "./kept-open.ts";
import { type Serving, socketServing, tlsServing } from "./serving.ts";
import { Session } from "./session.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";

const isAlive = (session: Session) => !session.qmp.closed.aborted;

/** How often an image that somebody holds is asked for again: a daemon of an earlier life of ours may be about to end. */
const lockAttemptsMax = 10;
const lockRetryMs = 100;

/** A session in use. Disposing gives it back: a stopped machine's images are free again when the last user has. */
export interface Hold extends AsyncDisposable {
  readonly session: Session;
}

interface Offline {
  readonly session: Session;
  readonly daemon: StorageDaemon;
  holds: number;
}

/**
 * The group's QEMUs. A running machine's connection is kept between uses; for a machine that does not run a storage
 * daemon is started when the first user asks and ended with the last, so that the machine may start in between.
 */
export class Sessions implements AsyncDisposable {
  readonly #options: QemuSourceOptions;
  readonly #connector: Connector;
  readonly #live = new KeptOpen<QemuMachineSettings, Session>(isAlive);
  readonly #offline = new KeptOpen<QemuMachineSettings, Offline>(({ session }) => isAlive(session));

  constructor(options: QemuSourceOptions, connector: Connector) {
    this.#options = options;
    this.#connector = connector;
  }

  /**
   * The machine's QEMU. QMP_BUSY, QMP_DENIED, QMP_PROTOCOL; QMP_MISSING when it does not run and its images are not known,
   * DISK_IN_USE when another process has them.
   */
  async hold(machine: QemuMachineSettings, signal: AbortSignal): Promise<Hold> {
    const live = await this.#live.get(machine, () => this.#connect(machine, signal));
    if (live) return { session: live, [Symbol.asyncDispose]: async () => {} };
    const offline = await this.#offline.get(machine, () => this.#openOffline(machine, signal));
    assert(offline !== null, "a daemon is opened or the opening rejects");
    offline.holds += 1;
    let isHeld = true;
    return {
      session: offline.session,
      [Symbol.asyncDispose]: async () => {
        if (!isHeld) return;
        isHeld = false;
        offline.holds -= 1;
        if (offline.holds > 0) return;
        await this.#offline.drop(machine, offline);
        // Somebody may have got it just before it was dropped; then the last of them ends it.
        if (offline.holds > 0) return;
        await offline.daemon[Symbol.asyncDispose]();
      },
    };
  }

  /** The machine's own QEMU, or null when it does not run: no daemon is started in its place. Faults as `hold` has them. */
  async running(machine: QemuMachineSettings, signal: AbortSignal): Promise<Session | null> {
    try {
      return await this.#live.get(machine, () => this.#connect(machine, signal));
    } catch (error) {
      if (isFault(error, "QMP_MISSING")) return null;
      throw error;
    }
  }

  /** Names in the scratch directory that are in use now. */
  async inUse(): Promise<ReadonlySet<string>> {
    return new Set([
      ...(await this.live()).flatMap(({ serving }) => serving.scratchName ?? []),
      ...(await this.#offline.all()).map(({ daemon }) => basename(daemon.directory)),
    ]);
  }

  /** Sessions with running machines that are connected now. */
  async live(): Promise<readonly Session[]> {
    return await this.#live.all();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of await this.live()) {
      await session.stopServing();
      await session.qmp[Symbol.asyncDispose]();
    }
    for (const { daemon } of await this.#offline.all()) await daemon[Symbol.asyncDispose]();
  }

  async #connect(machine: QemuMachineSettings, signal: AbortSignal): Promise<Session | null> {
    const { qmpPath } = machine;
    if (qmpPath === null) return null;
    const { group, scratch, files } = this.#options;
    const serving = servingOf(this.#options, machine);
    try {
      await files.makeDirectory(scratch.directory);
      const qmp = await this.#connector.connect({ ...machine, qmpPath }, signal);
      return new Session({ group, machine, isLive: true, qmp, serving });
    } catch (error) {
      // Of another host's machine we know only that we do not reach it: it may well run, and its images are not to be opened here.
      const isOff = !machine.nbd && machine.disks.every((disk) => disk.image !== undefined);
      if (isFault(error, "QMP_MISSING") && isOff) return null;
      throw error;
    }
  }

  async #openOffline(machine: QemuMachineSettings, signal: AbortSignal): Promise<Offline> {
    const { group, clock, onCommand, scratch, files } = this.#options;
    await files.makeDirectory(scratch.directory);
    const directoryPrefix = join(scratch.directory, daemonPrefix(group));
    const daemon = await startStorageDaemon({ directoryPrefix, clock, signal, onCommand });
    try {
      for (const disk of machine.disks) {
        const name = diskNameOf(machine, disk);
        if (disk.image === undefined) {
          const message = `${machine.name} is off, and no image of ${disk.name} is configured`;
          throw new Fault("QMP_MISSING", message, { machine: machine.name });
        }
        const node = offlineNode(group, name);
        const format = disk.tracking === "persistent" ? "qcow2" : "raw";
        const image = { node, path: disk.image, format, signal } as const;
        await patiently(clock, signal, () => daemon.openImage(image));
      }
      const settings = {
        ...machine,
        disks: machine.disks.map((disk) => ({
          name: disk.name,
          tracking: disk.tracking,
          node: offlineNode(group, diskNameOf(machine, disk)),
        })),
      };
      const session = new Session({
        group,
        machine: settings,
        isLive: false,
        qmp: daemon.qmp,
        serving: socketServing(join(daemon.directory, "nbd"), files),
      });
      return { session, daemon, holds: 0 };
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }
}

function servingOf(options: QemuSourceOptions, machine: QemuMachineSettings): Serving {
  const { group, scratch, files } = options;
  if (machine.nbd) return tlsServing(machine.nbd, ownCredentials(group, machine.name), files);
  const path = join(scratch.directory, ownSocketFile(group, machine.name));
  requireSocketPath(path);
  return socketServing(path, files);
}

/** Longest path of a unix socket on Linux (`sockaddr_un.sun_path` with its end). */
const socketPathLengthMax = 107;

function requireSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= socketPathLengthMax) return;
  const message = `${path} is too long for a socket: choose a shorter scratch.directory`;
  throw new Fault("CONFIG_INVALID", message, { path });
}

/** Node name of a stopped machine's disk in the daemon; must not look like what `repair` removes. */
function offlineNode(group: GroupName, name: Parameters<typeof ownNames>[1]): string {
  return `disk-${ownNames(group, name).job.slice("afterimage-".length)}`;
}

async function patiently(clock: Clock, signal: AbortSignal, open: () => Promise<void>) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await open();
    } catch (error) {
      if (!isFault(error, "DISK_IN_USE") || attempt === lockAttemptsMax) throw error;
      await clock.sleep(lockRetryMs, { signal });
    }
  }
}
