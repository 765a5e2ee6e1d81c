import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { MIB } from "../base/units.ts";
import { createImage, imageInfo } from "./image.ts";
import { runTool } from "./run-tool.ts";
import { startStorageDaemon } from "./storage-daemon.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-image-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test.each(["raw", "qcow2"] as const)("a %s image is made and described", async (format) => {
  const path = join(directory, "-odd name,file");
  await createImage(path, { format, sizeBytes: 3 * MIB });
  expect(await imageInfo(path)).toEqual({
    format,
    sizeBytes: 3 * MIB,
    bitmaps: [],
    backing: null,
  });
});

test("an image that is not there is named", async () => {
  const path = join(directory, "missing");
  await expect(imageInfo(path)).rejects.toMatchObject({
    code: "STORAGE_MISSING",
    details: { path },
  });
  const nowhere = join(directory, "no", "where");
  await expect(createImage(nowhere, { format: "raw", sizeBytes: 512 })).rejects.toMatchObject({
    code: "STORAGE_MISSING",
  });
});

test("a program that is not installed is named with its package", async () => {
  await expect(runTool("afterimage-no-such-program", [])).rejects.toMatchObject({
    code: "TOOL_MISSING",
  });
});

test("a program is stopped with its caller", async () => {
  const controller = new AbortController();
  const running = runTool("sleep", ["60"], { signal: controller.signal });
  controller.abort();
  await expect(running).rejects.toMatchObject({ code: "ABORTED" });
});

test("a daemon stores a persistent bitmap when it ends, and holds the image's lock until then", async () => {
  const path = join(directory, "disk.qcow2");
  await createImage(path, { format: "qcow2", sizeBytes: MIB });
  const clock = systemClock();
  {
    await using daemon = await startStorageDaemon({ clock });
    await daemon.openImage({ node: "d0", path, format: "qcow2" });
    const bitmap = { node: "d0", name: "b0", persistent: true };
    await daemon.qmp.execute("block-dirty-bitmap-add", bitmap);
    await using second = await startStorageDaemon({ clock });
    await expect(second.openImage({ node: "d0", path, format: "qcow2" })).rejects.toMatchObject({
      code: "DISK_IN_USE",
    });
  }
  expect((await imageInfo(path)).bitmaps.map(({ name }) => name)).toEqual(["b0"]);
});

test("a daemon refuses what is no image of the format, and what is not there", async () => {
  const path = join(directory, "disk.raw");
  await writeFile(path, new Uint8Array(4096));
  await using daemon = await startStorageDaemon({ clock: systemClock() });
  const open = (image: string) => daemon.openImage({ node: "d0", path: image, format: "qcow2" });
  await expect(open(path)).rejects.toMatchObject({ code: "DISK_UNSUPPORTED" });
  await expect(open(`${path}.not`)).rejects.toMatchObject({ code: "DISK_MISSING" });
});
