import { isFault } from "../../base/fault.ts";
import type { DiskName } from "../../core/ids.ts";
import type { LiveDisk } from "../../core/source.ts";
import * as commands from "../../qemu/commands.ts";
import { ownNames } from "../../qemu/own-names.ts";
import { removeOwnThings } from "../../qemu/own-things.ts";
import type { SourceContext } from "./context.ts";
import { DiskReader } from "./disk-reader.ts";
import type { Hold } from "./sessions.ts";

/** Exports a disk as it is and reads it while its guest writes. Takes the hold over. */
export async function openLiveDisk(
  context: SourceContext,
  hold: Hold,
  name: DiskName,
  signal: AbortSignal,
): Promise<LiveDisk> {
  const { session } = hold;
  const { liveExport } = ownNames(context.options.group, name);
  const close = async () => {
    await closeExport(hold, liveExport);
    await hold[Symbol.asyncDispose]();
  };
  try {
    const disk = await session.disk(name, signal);
    await session.serve(signal);
    await session.run(commands.addExport(disk.node, liveExport, []), signal);
    const reader = new DiskReader({
      dial: () => session.serving.dial(),
      exportName: liveExport,
      clock: context.options.clock,
      signal: session.qmp.closed,
    });
    return {
      sizeBytes: disk.sizeBytes,
      extents: (offsetBytes, lengthBytes) => reader.allocation(offsetBytes, lengthBytes),
      read: (offsetBytes, into) => reader.read(offsetBytes, into),
      async [Symbol.asyncDispose]() {
        await reader[Symbol.asyncDispose]();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function closeExport({ session }: Hold, liveExport: string) {
  const things = { exports: [liveExport], jobs: [], nodes: [], bitmaps: [] };
  await removeOwnThings(session.qmp, things).catch((error: unknown) => {
    if (!isFault(error, "QMP_CLOSED")) throw error;
  });
}
