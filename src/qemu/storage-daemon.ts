import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { KIB } from "../base/units.ts";
import * as commands from "./commands.ts";
import type { ImageFormat } from "./image.ts";
import { connectQmp, type Qmp } from "./qmp.ts";
import type { QmpCommand } from "./qmp-messages.ts";

/** How long the daemon may take to answer after its start: it takes 24 ms on an idle host. */
export const daemonStartTimeoutMs = 10_000;
/** How long it may take to store its bitmaps when it ends, before it is killed. */
export const daemonQuitTimeoutMs = 30_000;
const retryMs = 5;
const complaintLengthMax = 4 * KIB;

/** A qemu-storage-daemon of ours. Disposing ends it in order, which stores persistent bitmaps. */
export interface StorageDaemon extends AsyncDisposable {
  readonly qmp: Qmp;
  readonly pid: number;
  /** A directory of the daemon's own for sockets; gone with it. */
  readonly directory: string;
  /**
   * Opens an image for writing under a node name, which takes its lock. DISK_IN_USE when another process has it,
   * DISK_MISSING when there is none.
   */
  openImage(options: {
    readonly node: string;
    readonly path: string;
    readonly format: ImageFormat;
    readonly signal?: AbortSignal;
  }): Promise<void>;
  /** SIGKILL, as a power cut; for tests. */
  kill(): Promise<void>;
}

/**
 * Starts a daemon that serves images of stopped machines. The kernel ends it in order (SIGTERM) when we die, so that no image
 * stays locked. TOOL_MISSING, TOOL_FAILED, TIMEOUT, ABORTED.
 */
export async function startStorageDaemon(options: {
  /** Path and beginning of the name of the daemon's own directory. Default: in the system's directory for such. */
  readonly directoryPrefix?: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  readonly onCommand?: ((command: QmpCommand) => void) | undefined;
}): Promise<StorageDaemon> {
  const prefix = options.directoryPrefix ?? join(tmpdir(), "afterimage-daemon-");
  const directory = await mkdtemp(prefix);
  const path = join(directory, "qmp");
  const socket = `socket,id=qmp,path=${path},server=on,wait=off`;
  const daemon = ["qemu-storage-daemon", "--chardev", socket, "--monitor", "chardev=qmp"];
  const child = spawn("setpriv", ["--pdeathsig", "TERM", ...daemon], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  child.stderr.on("data", (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(0, complaintLengthMax);
  });
  const ended = once(child, "close").catch((error: unknown) => {
    complaint += String(error);
  });
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    if (child.pid !== undefined) child.kill(signal);
    const late = AbortSignal.timeout(daemonQuitTimeoutMs);
    const kill = () => child.kill("SIGKILL");
    late.addEventListener("abort", kill, { once: true });
    await ended;
    late.removeEventListener("abort", kill);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const isGone = () => (hasEnded ? complaint.trim() || "it ended at once" : null);
    const qmp = await connectWhenReady({ ...options, path, isGone });
    return {
      qmp,
      pid: child.pid ?? 0,
      directory,
      openImage: (image) => openImage(qmp, image),
      kill: () => end("SIGKILL"),
      async [Symbol.asyncDispose]() {
        await qmp[Symbol.asyncDispose]();
        await end("SIGTERM");
      },
    };
  } catch (error) {
    await end("SIGKILL");
    throw error;
  }
}

async function connectWhenReady(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  readonly onCommand?: ((command: QmpCommand) => void) | undefined;
  /** The daemon's last words once it has ended. */
  isGone(): string | null;
}): Promise<Qmp> {
  const { path, clock, signal, onCommand } = options;
  const giveUpAtMs = clock.monotonicMs() + daemonStartTimeoutMs;
  while (true) {
    try {
      return await connectQmp({ path, onCommand, ...(signal ? { signal } : {}) });
    } catch (error) {
      const words = options.isGone();
      if (words !== null) throw startFault(words);
      if (!isFault(error, "QMP_MISSING") || clock.monotonicMs() > giveUpAtMs) throw error;
      await clock.sleep(retryMs, signal ? { signal } : {});
    }
  }
}

function startFault(words: string): Fault {
  const program = "qemu-storage-daemon";
  if (/No such file|ENOENT/.test(words)) {
    const message = `${program} is not installed (Debian: qemu-system-common): ${words}`;
    return new Fault("TOOL_MISSING", message, { program });
  }
  return new Fault("TOOL_FAILED", `${program} did not start: ${words}`, { program });
}

async function openImage(
  qmp: Qmp,
  { node, path, format, signal }: Parameters<StorageDaemon["openImage"]>[0],
): Promise<void> {
  const { execute, arguments: args } = commands.addImage({ node, path, format });
  try {
    await qmp.execute(execute, args, signal ? { signal } : {});
  } catch (error) {
    if (!isFault(error, "QMP_REFUSED")) throw error;
    const words = String(error.details.desc);
    const details = { path, words };
    if (/Failed to get .* lock/.test(words)) {
      throw new Fault("DISK_IN_USE", `${path} is held by another process`, details, {
        cause: error,
      });
    }
    if (/not in qcow2 format/.test(words)) {
      throw new Fault("DISK_UNSUPPORTED", `${path} is not a qcow2 image`, details, {
        cause: error,
      });
    }
    if (/No such file or directory/.test(words)) {
      throw new Fault("DISK_MISSING", `${path} is not there`, details, { cause: error });
    }
    throw error;
  }
}
