import { Fault } from "../src/base/fault.ts";
import type { Extent } from "../src/core/extent.ts";
import { type DiskName, machineOf } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import type { LiveDisk } from "../src/core/source.ts";
import { type Connection, sessionOf } from "./connection.ts";
import type { DiskImage } from "./disk-image.ts";

/** The disk as it changes; ends with NBD_CLOSED when its machine stops, starts or dies. */
export async function openLiveDisk(
  connection: Connection,
  name: DiskName,
  signal: AbortSignal,
): Promise<LiveDisk> {
  const { estate } = connection;
  const machine = () => sessionOf(estate.machine(machineOf(name)));
  const { session, sizeBytes } = await connection.command(`live.open ${name}`, signal, () => ({
    session: machine(),
    sizeBytes: connection.findDisk(name).image.sizeBytes,
  }));
  const image = (endBytes: number): DiskImage => {
    signal.throwIfAborted();
    const found = connection.findDisk(name).image;
    if (machine() !== session) throw new Fault("NBD_CLOSED", `${name}: its machine is gone`);
    if (endBytes > found.sizeBytes) throw new Fault("NBD_FAILED", `${name}: it was cut`);
    return found;
  };
  return {
    sizeBytes,
    async *extents(offsetBytes, lengthBytes) {
      await connection.steps.pass(`live.extents ${name}`);
      yield* runsOf(image(offsetBytes + lengthBytes), offsetBytes, lengthBytes);
    },
    read: async (offsetBytes, into) => {
      await connection.steps.pass(`live.read ${name} ${offsetBytes}`);
      image(offsetBytes + into.length).read(offsetBytes, into);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** The run in extents by allocation, neighbours of one state joined. */
export function runsOf(image: DiskImage, offsetBytes: number, lengthBytes: number): Extent[] {
  const runs: Extent[] = [];
  const endBytes = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < endBytes; ) {
    const block = Math.floor(at / blockSizeBytes);
    const untilBytes = Math.min(endBytes, (block + 1) * blockSizeBytes);
    const state = image.isAllocated(block) ? "data" : "zero";
    const last = runs.at(-1);
    if (last?.state === state) {
      runs[runs.length - 1] = { ...last, lengthBytes: untilBytes - last.offsetBytes };
    } else {
      runs.push({ offsetBytes: at, lengthBytes: untilBytes - at, state });
    }
    at = untilBytes;
  }
  return runs;
}
