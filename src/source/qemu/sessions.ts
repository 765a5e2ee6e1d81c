import { basename, join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { Fault, isFault } from "../../base/fault.ts";
import type { GroupName } from "../../core/ids.ts";
import { daemonPrefix, ownNames, ownSocketFile } from "../../qemu/own-names.ts";
import { type StorageDaemon, startStorageDaemon } from "../../qemu/storage-daemon.ts";
import type { Connector } from "./connector.ts";
import { diskNameOf } from "./disk-place.ts";
import { Session } from "./session.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";

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
  readonly #live = new Map<QemuMachineSettings, Session>();
  readonly #offline = new Map<QemuMachineSettings, Promise<Offline>>();

  constructor(options: QemuSourceOptions, connector: Connector) {
    this.#options = options;
    this.#connector = connector;
  }

  /**
   * The machine's QEMU. QMP_BUSY, QMP_DENIED, QMP_PROTOCOL; QMP_MISSING when it does not run and its images are not known,
   * DISK_IN_USE when another process has them.
   */
  async hold(machine: QemuMachineSettings, signal: AbortSignal): Promise<Hold> {
    const live = await this.#liveSession(machine, signal);
    if (live) return { session: live, [Symbol.asyncDispose]: async () => {} };
    const offline = await this.#offlineOf(machine, signal);
    offline.holds += 1;
    let isHeld = true;
    return {
      session: offline.session,
      [Symbol.asyncDispose]: async () => {
        if (!isHeld) return;
        isHeld = false;
        offline.holds -= 1;
        if (offline.holds > 0) return;
        if ((await this.#offline.get(machine)) === offline) this.#offline.delete(machine);
        await offline.daemon[Symbol.asyncDispose]();
      },
    };
  }

  /** Names in the scratch directory that are in use now. */
  async inUse(): Promise<ReadonlySet<string>> {
    const opened = await Promise.allSettled(this.#offline.values());
    return new Set([
      ...this.live.map((session) => basename(session.nbdPath)),
      ...opened.flatMap((offline) =>
        offline.status === "fulfilled" ? [basename(offline.value.daemon.directory)] : [],
      ),
    ]);
  }

  /** Sessions with running machines that are connected now. */
  get live(): readonly Session[] {
    return [...this.#live.values()].filter((session) => !session.qmp.closed.aborted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.live) {
      await session.stopServing();
      await session.qmp[Symbol.asyncDispose]();
    }
    this.#live.clear();
    const offline = await Promise.allSettled(this.#offline.values());
    this.#offline.clear();
    for (const opened of offline) {
      if (opened.status === "fulfilled") await opened.value.daemon[Symbol.asyncDispose]();
    }
  }

  async #liveSession(machine: QemuMachineSettings, signal: AbortSignal): Promise<Session | null> {
    const known = this.#live.get(machine);
    if (known && !known.qmp.closed.aborted) return known;
    this.#live.delete(machine);
    const { qmpPath } = machine;
    if (qmpPath === null) return null;
    const { group, scratch, files } = this.#options;
    const nbdPath = join(scratch.directory, ownSocketFile(group, machine.name));
    requireSocketPath(nbdPath);
    try {
      await files.makeDirectory(scratch.directory);
      const qmp = await this.#connector.connect({ ...machine, qmpPath }, signal);
      const session = new Session({ group, machine, isLive: true, qmp, nbdPath });
      this.#live.set(machine, session);
      return session;
    } catch (error) {
      const hasImages = machine.disks.every((disk) => disk.image !== undefined);
      if (isFault(error, "QMP_MISSING") && hasImages) return null;
      throw error;
    }
  }

  async #offlineOf(machine: QemuMachineSettings, signal: AbortSignal): Promise<Offline> {
    const known = await this.#offline.get(machine)?.catch(() => null);
    if (known && !known.session.qmp.closed.aborted) return known;
    const opening = this.#openOffline(machine, signal);
    this.#offline.set(machine, opening);
    try {
      return await opening;
    } catch (error) {
      this.#offline.delete(machine);
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
        nbdPath: join(daemon.directory, "nbd"),
      });
      return { session, daemon, holds: 0 };
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }
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
