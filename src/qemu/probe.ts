import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import type { Finding } from "../core/platform.ts";
import * as commands from "./commands.ts";
import { createImage, imageInfo } from "./image.ts";
import type { QmpCommand } from "./qmp-messages.ts";
import { type StorageDaemon, startStorageDaemon } from "./storage-daemon.ts";

const probeDiskSizeBytes = MIB;
const upgrade = "Upgrade QEMU to 5.2 or newer (Debian: qemu-system-x86, qemu-utils).";
const names = { node: "disk", fleeceNode: "fleece", scratchNode: "scratch", filterNode: "filter" };
const bitmaps = { head: "head", recording: "recording", frozen: "frozen" };

export interface ProbeOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Collects findings; each check either resolves to what it found or rejects with a Fault. */
export class Findings {
  readonly list: Finding[] = [];

  /** Runs one check and notes what came of it; resolves to whether it held. Without `fix` the fault's own next step is told. */
  async check(name: string, fix: string | null, look: () => Promise<string>): Promise<boolean> {
    try {
      this.list.push({ name, ok: true, detail: await look(), fix: null });
      return true;
    } catch (error) {
      if (!(error instanceof Fault) || error.code === "ABORTED") throw error;
      this.list.push({ name, ok: false, detail: error.message, fix: fix ?? error.nextStep });
      return false;
    }
  }
}

/**
 * Tries what replication needs of this host's QEMU on a throw-away image: not what a version promises, but one whole point,
 * sent in the very forms that replication sends.
 */
export async function probeReplication(options: ProbeOptions): Promise<readonly Finding[]> {
  const findings = new Findings();
  const directory = await mkdtemp(join(tmpdir(), "afterimage-probe-"));
  try {
    await probeIn(directory, findings, options);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return findings.list;
}

async function probeIn(directory: string, findings: Findings, options: ProbeOptions) {
  const { signal } = options;
  const image = join(directory, "disk.qcow2");
  const scratch = join(directory, "scratch.qcow2");
  const isMade = await findings.check("qemu-img", null, async () => {
    for (const path of [image, scratch]) {
      await createImage(path, { format: "qcow2", sizeBytes: probeDiskSizeBytes, signal });
    }
    return "It makes qcow2 images.";
  });
  if (!isMade) return;
  const started: StorageDaemon[] = [];
  await findings.check("qemu-storage-daemon", null, async () => {
    const directoryPrefix = join(directory, "daemon-");
    const daemon = await startStorageDaemon({ directoryPrefix, clock: options.clock, signal });
    started.push(daemon);
    const { major, minor, micro } = daemon.qmp.greeting;
    return `It runs, and says it is QEMU ${major}.${minor}.${micro}.`;
  });
  if (started[0] === undefined) return;
  {
    await using held = started[0];
    await probePoint(
      held,
      { image, scratch, socketPath: join(directory, "nbd") },
      findings,
      signal,
    );
  }
  await findings.check("bitmaps that outlive QEMU", upgrade, async () => {
    const { bitmaps: kept } = await imageInfo(image, { signal });
    if (kept.some((bitmap) => bitmap.name === bitmaps.head)) return "One was stored in its image.";
    throw new Fault("QEMU_UNSUPPORTED", "A persistent bitmap was gone after QEMU had ended.");
  });
}

/** One point, step by step as the source takes it. */
async function probePoint(
  daemon: StorageDaemon,
  paths: { readonly image: string; readonly scratch: string; readonly socketPath: string },
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  const { node, fleeceNode, scratchNode, filterNode } = names;
  const send = ({ execute, arguments: args }: QmpCommand) =>
    daemon.qmp.execute(execute, args, { signal });
  const steps: readonly (readonly [string, () => Promise<string>])[] = [
    [
      "dirty bitmaps",
      async () => {
        await daemon.openImage({ node, path: paths.image, format: "qcow2", signal });
        const add = commands.addRecordingBitmap(node, bitmaps.head, true);
        await send(commands.transaction([add]));
        return "A transaction added a persistent one.";
      },
    ],
    [
      "write threshold",
      async () => {
        const path = paths.scratch;
        await send(commands.addFleece({ fleeceNode, scratchNode, path, backing: node }));
        await send(commands.setWriteThreshold(scratchNode, probeDiskSizeBytes));
        return "Scratch can be watched.";
      },
    ],
    [
      "point in time",
      async () => {
        const copy = { job: "job", node, target: fleeceNode, filterNode };
        await send(
          commands.transaction([
            commands.addRecordingBitmap(node, bitmaps.recording, true),
            commands.addFrozenBitmap(node, bitmaps.frozen),
            commands.mergeBitmap(node, bitmaps.head, bitmaps.frozen),
            commands.startCopyBeforeWrite(copy),
          ]),
        );
        return "One transaction added two bitmaps, merged, and began to copy before write under a named filter.";
      },
    ],
    [
      "export with a bitmap",
      async () => {
        await send(commands.startNbdServer(paths.socketPath));
        await send(commands.addExport(fleeceNode, "export", [bitmaps.frozen]));
        return "A point can be read over NBD, with what changed.";
      },
    ],
    [
      "giving a point up",
      async () => {
        const isDeleted = { timeoutMs: 10_000, signal };
        const gone = daemon.qmp.waitForEvent(
          ({ event }) => event === "BLOCK_EXPORT_DELETED",
          isDeleted,
        );
        gone.catch(() => {}); // Awaited below, unless the command itself is refused.
        await send(commands.deleteExport("export"));
        await gone;
        const ended = daemon.qmp.waitForEvent(
          ({ event }) => event === "BLOCK_JOB_CANCELLED",
          isDeleted,
        );
        ended.catch(() => {});
        await send(commands.cancelJob("job"));
        await ended;
        await send(commands.deleteNode(fleeceNode));
        for (const name of [bitmaps.frozen, bitmaps.recording]) {
          await send(commands.removeBitmap(node, name));
        }
        return "Everything of it could be removed again.";
      },
    ],
  ];
  for (const [name, step] of steps) {
    // Each stands on the one before.
    if (!(await findings.check(name, upgrade, step))) return;
  }
}
