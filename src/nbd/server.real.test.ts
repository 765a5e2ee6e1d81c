import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import type { NbdAddress } from "./address.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { serveNbd } from "./server.ts";
import { isInstalled, run, runWell } from "./test-programs.ts";
import { scratchDirectory } from "./test-scratch.ts";

const sizeBytes = 48 * MIB;

/** Random data with holes between. */
function disk(): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const prng = seededPrng(7);
  for (let at = 0; at < sizeBytes; at += 3 * MIB) prng.fill(bytes.subarray(at, at + 700 * KIB));
  return bytes;
}

async function served(
  bytes: Uint8Array,
  options: { listen?: NbdAddress; found?: Partial<NbdExport> } = {},
) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const found = { ...memoryExport(bytes, { description: "a disk of erp" }), ...options.found };
  const incidents: unknown[] = [];
  const server = stack.use(
    await serveNbd({
      listen: options.listen ?? { path: join(scratch.path, "s") },
      exports: fixedExports(new Map([["erp/data disk", found]])),
      report: (incident) => incidents.push(incident),
    }),
  );
  const held = stack.move();
  return {
    uri: server.uri("erp/data disk"),
    listUri: server.uri(""),
    file: (name: string) => join(scratch.path, name),
    incidents,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

describe.skipIf(!isInstalled("nbdinfo"))("nbdinfo", () => {
  test("sees the export as it is", async () => {
    await using at = await served(disk());
    const told = JSON.parse(await runWell("nbdinfo", "--json", at.uri));
    const [found] = told.exports;
    assert.equal(found["export-name"], "erp/data disk");
    assert.equal(found["export-size"], sizeBytes);
    assert.equal(found.description, "a disk of erp");
    assert.deepEqual(found.contexts, ["base:allocation"]);
    for (const can of ["df", "fua", "flush", "trim", "zero", "fast_zero", "cache", "multi_conn"]) {
      assert.equal(found[`can_${can}`], true, can);
    }
    assert.equal(found.is_read_only, false);
    assert.equal(told.structured, true);
    const listed = JSON.parse(await runWell("nbdinfo", "--json", "--list", at.listUri));
    assert.equal(listed.exports[0]["export-name"], "erp/data disk");
    assert.deepEqual(at.incidents, []);
  });

  test("maps data and holes", async () => {
    await using at = await served(disk());
    const map: { offset: number; length: number; type: number }[] = JSON.parse(
      await runWell("nbdinfo", "--json", "--map", at.uri),
    );
    assert.equal(map.length, 32);
    assert.deepEqual(
      map.slice(0, 2).map(({ offset, length, type }) => [offset, length, type]),
      [
        [0, 700 * KIB, 0],
        [700 * KIB, 3 * MIB - 700 * KIB, 3],
      ],
    );
  });
});

describe.skipIf(!isInstalled("nbdcopy"))("nbdcopy", () => {
  const places = [
    { name: "unix", listen: undefined },
    { name: "TCP", listen: { host: "127.0.0.1", port: 0 } },
  ];
  for (const { name, listen } of places) {
    test(`copies the disk out and in, over ${name}`, async () => {
      const bytes = disk();
      await using at = await served(bytes, listen === undefined ? {} : { listen });
      await runWell("nbdcopy", at.uri, at.file("out"));
      assert(Buffer.from(bytes).equals(await readFile(at.file("out"))));
      seededPrng(8).fill(bytes.subarray(0, 20 * MIB));
      bytes.reverse();
      await runWell("nbdcopy", "--flush", at.file("out"), at.uri);
      assert(Buffer.from(bytes).equals(await readFile(at.file("out"))));
      assert.deepEqual(at.incidents, []);
    });
  }

  test("is told when a read fails, and so is the owner", async () => {
    const read = () => Promise.reject(new Error("rotten"));
    await using at = await served(disk(), { found: { read } });
    const ended = await run("nbdcopy", [at.uri, "null:"]);
    assert.notEqual(ended.exitCode, 0);
    assert.match(ended.stderr, /Input\/output error/);
    assert(at.incidents.length > 0);
  });
});

describe.skipIf(!isInstalled("qemu-img"))("qemu-img and qemu-io", () => {
  test("compare, convert out and back, and map", async () => {
    const bytes = disk();
    await using at = await served(bytes);
    await writeFile(at.file("raw"), bytes);
    const compared = await runWell(
      "qemu-img",
      "compare",
      "-f",
      "raw",
      "-F",
      "raw",
      at.uri,
      at.file("raw"),
    );
    assert.match(compared, /Images are identical/);
    await runWell("qemu-img", "convert", "-f", "raw", "-O", "qcow2", at.uri, at.file("qcow2"));
    bytes.fill(0xaa);
    const back = ["convert", "-n", "-f", "qcow2", "-O", "raw", at.file("qcow2"), at.uri];
    await runWell("qemu-img", ...back);
    assert(Buffer.from(bytes).equals(await readFile(at.file("raw"))));
    const map = JSON.parse(await runWell("qemu-img", "map", "--output=json", "-f", "raw", at.uri));
    assert.deepEqual(
      [map[1].start, map[1].length, map[1].zero],
      [700 * KIB, 3 * MIB - 700 * KIB, true],
    );
    assert.deepEqual(at.incidents, []);
  });

  for (const minimumBytes of [1, 512, 4096]) {
    test(`every command of qemu-io does what it says, blocks of ${minimumBytes} bytes`, async () => {
      const bytes = disk();
      const model = bytes.slice();
      const blockSizes = { minimumBytes, preferredBytes: 4096, maximumBytes: MIB };
      await using at = await served(bytes, { found: { blockSizes } });
      const commands = [
        "write -P 0x11 1000 5000",
        "write -f -P 0x22 1M 3M",
        "write -z 4096 64k",
        "write -z -u 8M 1M",
        "discard 12M 1M",
        "read -P 0x11 1000 3096",
        "read -P 0x22 1M 3M",
        "read -P 0 8M 1M",
        "flush",
      ];
      const steps = commands.flatMap((text) => ["-c", text]);
      const said = await runWell("qemu-io", "-f", "raw", ...steps, at.uri);
      assert.doesNotMatch(said, /fail|error/i);
      model.fill(0x11, 1000, 6000);
      model.fill(0x22, MIB, 4 * MIB);
      model.fill(0, 4096, 4096 + 64 * KIB);
      model.fill(0, 8 * MIB, 9 * MIB);
      model.fill(0, 12 * MIB, 13 * MIB);
      assert(Buffer.from(bytes).equals(model));
      assert.deepEqual(at.incidents, []);
    });
  }

  test("a read-only export cannot be opened for writing", async () => {
    await using at = await served(disk(), { found: { isReadOnly: true } });
    const ended = await run("qemu-io", ["-f", "raw", "-c", "write 0 512", at.uri]);
    assert.notEqual(ended.exitCode, 0);
    await runWell("qemu-io", "-r", "-f", "raw", "-c", "read 0 512", at.uri);
  });
});

describe.skipIf(!isInstalled("fio"))("fio", () => {
  test("verifies what it wrote, 32 requests at a time", async () => {
    await using at = await served(new Uint8Array(sizeBytes));
    await runWell(
      "fio",
      ...["--name=nbd", "--ioengine=nbd", `--uri=${at.uri}`, "--rw=randrw", "--bsrange=512-64k"],
      ...[
        "--iodepth=32",
        "--size=24m",
        "--verify=crc32c",
        "--verify_state_save=0",
        "--verify_fatal=1",
        "--randseed=5",
      ],
      "--minimal",
    );
    assert.deepEqual(at.incidents, []);
  });
});
