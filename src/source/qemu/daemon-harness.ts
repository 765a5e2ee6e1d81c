import { MIB } from "../../base/units.ts";
import { parseIds } from "../../qemu/block-graph.ts";
import { ownPrefix } from "../../qemu/own-names.ts";
import type { SourceHarness } from "../source-contract.ts";
import { diskName, type Guest, type GuestDisk, testGroup, testHost } from "./test-guest.ts";

/** The disks of the harness's machine. */
export const harnessDisks: readonly GuestDisk[] = [
  { name: "data", sizeBytes: 64 * MIB },
  { name: "wal", sizeBytes: 16 * MIB },
];

const shortName = (disk: string) => disk.slice(disk.indexOf("/") + 1);

/** For tests: the contract's harness over a storage daemon that stands for a machine's QEMU. */
export async function daemonHarness(): Promise<SourceHarness> {
  const host = await testHost();
  await host.createImages("db", harnessDisks);
  let guest: Guest = await host.start("db", harnessDisks);
  const machines = { db: harnessDisks };
  const source = host.source(machines);
  const lives = [source];
  const start = async () => {
    guest = await host.start("db", harnessDisks);
  };
  return {
    source,
    disks: [diskName("db/data"), diskName("db/wal")],
    write: (disk, offsetBytes, data) => guest.disk(shortName(disk)).write(offsetBytes, data),
    trim: (disk, offsetBytes, lengthBytes) =>
      guest.disk(shortName(disk)).trim(offsetBytes, lengthBytes),
    bitmaps: (disk) => guest.bitmaps(shortName(disk)),
    async removeBitmaps(disk) {
      const node = shortName(disk);
      for (const name of await guest.bitmaps(node)) {
        await guest.qmp.execute("block-dirty-bitmap-remove", { node, name });
      }
    },
    async addBitmap(disk, name) {
      const bitmap = { node: shortName(disk), name, persistent: true };
      await guest.qmp.execute("block-dirty-bitmap-add", bitmap);
    },
    async restart() {
      await guest.quit();
      await start();
    },
    async crash() {
      await guest.kill();
      await start();
    },
    async reborn() {
      // A process that was killed closes its sockets, and that is all it does.
      guest.dropSourceConnection();
      const next = host.source(machines);
      lives.push(next);
      return next;
    },
    async leftovers() {
      const exports = parseIds(await guest.qmp.execute("query-block-exports"));
      const jobs = parseIds(await guest.qmp.execute("query-jobs"));
      const found = [...exports, ...jobs, ...(await guest.nodeNames())];
      return found.filter((name) => name.startsWith(ownPrefix(testGroup)));
    },
    async [Symbol.asyncDispose]() {
      for (const life of lives) await life[Symbol.asyncDispose]();
      await host[Symbol.asyncDispose]();
    },
  };
}
