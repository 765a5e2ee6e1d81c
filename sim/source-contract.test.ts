import { type GroupName, type MachineName, parseDiskName } from "../src/core/ids.ts";
import { blockSizeBytes } from "../src/core/limits.ts";
import { type SourceHarness, sourceContract } from "../src/source/source-contract.ts";
import { makeBitmap } from "./bitmap.ts";
import { virtualClock } from "./clock.ts";
import { Estate } from "./estate.ts";
import { simSource } from "./source.ts";

sourceContract("the virtual source", async () => harness());

function harness(): SourceHarness {
  const estate = new Estate();
  const machine = "db" as MachineName;
  const disks = [parseDiskName("db/data")!, parseDiskName("db/wal")!] as const;
  for (const disk of disks) estate.addDisk(disk, { sizeBytes: 16 * blockSizeBytes });
  const connect = () =>
    simSource({ estate, group: "erp" as GroupName, disks, clock: virtualClock() });
  return {
    source: connect(),
    disks,
    write: async (disk, offsetBytes, data) => void estate.write(disk, offsetBytes, data),
    trim: async (disk, offsetBytes, lengthBytes) =>
      void estate.trim(disk, offsetBytes, lengthBytes),
    bitmaps: async (disk) => [...estate.disk(disk).bitmaps.keys()],
    removeBitmaps: async (disk) => estate.disk(disk).bitmaps.clear(),
    addBitmap: async (disk, name) => {
      const bitmap = makeBitmap(name, { isPersistent: true, isRecording: true, sizeBytes: 0 });
      estate.disk(disk).bitmaps.set(name, bitmap);
    },
    restart: async () => {
      estate.stopMachine(machine);
      estate.startMachine(machine);
    },
    crash: async () => {
      estate.killMachine(machine);
      estate.startMachine(machine);
    },
    isPaused: async () => estate.machine(machine).isPausedForGood,
    reborn: async () => {
      estate.releaseBarrier();
      return connect();
    },
    leftovers: async () => [
      ...estate.scratchFiles,
      ...disks.filter((disk) => estate.disk(disk).fleece !== null),
    ],
    [Symbol.asyncDispose]: async () => {},
  };
}
