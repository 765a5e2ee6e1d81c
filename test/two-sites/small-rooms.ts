import { execFile } from "node:child_process";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { KIB } from "../../src/base/units.ts";

const run = promisify(execFile);

/** File systems of their own for vault and spool, so that they really fill. Needs root. Disposing unmounts them. */
export class SmallRooms implements AsyncDisposable {
  readonly #mounted: string[] = [];

  async mount(path: string, sizeBytes: number): Promise<void> {
    await mkdir(path, { recursive: true });
    await run("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "afterimage-test", path]);
    this.#mounted.push(path);
  }

  /** Before their directory goes; what still runs keeps what it has open. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of this.#mounted.splice(0)) await run("umount", ["--lazy", path]);
  }
}

/** Fills a file system to its last byte; disposing gives the room back. */
export async function ballast(directory: string): Promise<AsyncDisposable> {
  const path = join(directory, "ballast");
  await using file = await open(path, "w");
  const block = Buffer.alloc(64 * KIB);
  try {
    for (;;) await file.write(block);
  } catch (error) {
    if (!String(error).includes("ENOSPC")) throw error;
  }
  return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
}
