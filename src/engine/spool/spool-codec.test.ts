import { expect, test } from "vitest";
import { dataDisk, walDisk, wrongPoints } from "../../../test/support/engine-world.ts";
import { begun, cutPoints } from "../../../test/support/spool-lives.ts";
import { groupDirectory, shipAll } from "../../../test/support/spool-world.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { openDelta } from "../../delta/reader.ts";

test("each machine's disks are stored as they are to be, and shipped so", async () => {
  const world = await begun(13);
  world.codecOf = (disk) => (disk === dataDisk ? "zstd" : "raw");
  world.link.isUp = false;
  for (const disk of [dataDisk, walDisk]) {
    world.estate.write(disk, 0, new Uint8Array(blockSizeBytes).fill(0x61));
  }
  await cutPoints(world, 1);
  const names = await world.files.list(groupDirectory);
  const path = `${groupDirectory}/${names.find((name) => name.endsWith(".delta"))}`;
  await using delta = await openDelta({ files: world.files, path });
  const { index, header } = delta;
  const found = new Map<string, Set<unknown>>();
  for (let entry = 0; entry < index.entryCount; entry += 1) {
    const { name } = header.disks[index.disk(entry)]!;
    if (index.isZero(entry) || index.offsetBytes(entry) > 0) continue;
    found.set(name, (found.get(name) ?? new Set()).add(index.codec(entry)));
  }
  expect(Object.fromEntries(found)).toEqual({
    [dataDisk]: new Set(["zstd"]),
    [walDisk]: new Set(["raw"]),
  });
  world.link.isUp = true;
  await shipAll(world);
  expect(await wrongPoints(world)).toEqual([]);
});
