import { constants, copyFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { type Machine, startMachine } from "../../src/qemu/machine.ts";
import { imageNode } from "../../src/qemu/machine-arguments.ts";
import { databaseDefinition } from "./database-guest.ts";
import type { GuestImages } from "./guest-images.ts";

/** Copies the guest's images into `directory`, as disks of one machine. */
export async function copyImages(images: GuestImages, directory: string): Promise<GuestImages> {
  const copies = {
    root: join(directory, "root.qcow2"),
    data: join(directory, "data.qcow2"),
    wal: join(directory, "wal.qcow2"),
  };
  for (const disk of ["root", "data", "wal"] as const) {
    await copyFile(images[disk], copies[disk], constants.COPYFILE_FICLONE);
  }
  return copies;
}

/** Starts the database machine on these very images; its sockets lie in `directory`. */
export function startProduction(options: {
  readonly name: string;
  readonly images: GuestImages;
  readonly directory: string;
  readonly signal: AbortSignal;
}): Promise<Machine> {
  return startMachine({
    name: options.name,
    definition: databaseDefinition,
    nodes: new Map(
      Object.entries(options.images).map(([disk, path]) => [disk, imageNode(path, "qcow2")]),
    ),
    directory: options.directory,
    accelerator: "tcg",
    clock: systemClock(),
    signal: options.signal,
  });
}
