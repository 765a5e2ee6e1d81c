import { expect, test } from "vitest";
import { Fault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { memoryFileSystem } from "../../base/memory-file-system.ts";
import { diskForTest, headerForTest } from "../../delta/header-for-test.ts";
import { openSpoolGroup } from "./spool-group.ts";
import { SpoolRoom } from "./spool-room.ts";
import { SpoolWriter } from "./spool-writer.ts";
import { readSpoolState } from "./state-file.ts";

const directory = "/spool/erp";
const disk = diskForTest(1, 1_048_576);

function room(files: FileSystem): SpoolRoom {
  return new SpoolRoom({ files, directory, capBytes: 2 ** 30, reserveBytes: 0 });
}

test("a point whose listing failed at its last step is not listed after a restart", async () => {
  const files = memoryFileSystem();
  let failures = 0;
  let stateWrites = 0;
  // The state was replaced, and only making that durable fails: on the medium it lists the point.
  const failing: FileSystem = {
    ...files,
    rename: async (from, to) => {
      await files.rename(from, to);
      if (to.endsWith("/state")) stateWrites += 1;
    },
    syncDirectory: async (path) => {
      if (stateWrites === 2 && failures++ === 0) throw new Fault("STORAGE_FAILED", "injected");
      await files.syncDirectory(path);
    },
  };
  const group = await openSpoolGroup({ files: failing, directory, room: room(files) });
  const header = headerForTest(1, [disk]);
  {
    await using writer = await SpoolWriter.begin({
      ...{ group, header, codecOf: () => "raw", onSealed: () => {}, onFull: () => {} },
    });
    await writer.write(disk.identity, 0, new Uint8Array(65_536).fill(3));
    const sealing = writer.seal({ dirtyBytes: 65_536, readBytes: 65_536 });
    await expect(sealing).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  }
  expect(group.newest).toBeNull();
  expect(group.room.usedBytes).toBe(0);
  const again = await openSpoolGroup({ files, directory, room: room(files) });
  expect(again.state.points).toEqual([]);
  expect(again.takeLosses()).toEqual([]);
  expect(await files.list(directory)).toEqual(["state"]);
});

test("a list of points that is as long as it may be reads back, and takes no more", async () => {
  const files = memoryFileSystem();
  const group = await openSpoolGroup({ files, directory, room: room(files) });
  const header = headerForTest(1, [disk]);
  await using writer = await SpoolWriter.begin({
    ...{ group, header, codecOf: () => "raw", onSealed: () => {}, onFull: () => {} },
  });
  await writer.seal({ dirtyBytes: 0, readBytes: 0, clock: { offsetMs: -0.123456789, errorMs: 9 } });
  await group.requireRoom(1);
  const [point] = group.state.points;
  const large = { sizeBytes: 2 ** 50, dirtyBytes: 2 ** 50, readBytes: 2 ** 50, sequence: 2 ** 40 };
  const points = Array(100_000).fill({ ...point!, ...large, fromPoint: point!.id });
  await group.changeAnyway((state) => ({ state: { ...state, points } }));
  await expect(group.requireRoom(1)).rejects.toMatchObject({ code: "SPOOL_FULL" });
  const state = await readSpoolState(files, `${directory}/state`);
  expect(state).not.toBe("damaged");
});
