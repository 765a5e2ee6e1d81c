import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "vitest";
import { isFault } from "../base/fault.ts";
import { type Prng, seededPrng } from "../base/prng.ts";
import { KIB, MIB } from "../base/units.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import { listNbdExports, listNbdMetaContexts } from "./list.ts";
import { openNbdPool } from "./pool.ts";
import { baseAllocation } from "./protocol.ts";
import { isInstalled, runWell, startNbdkit, startServer } from "./test-programs.ts";
import { scratchDirectory } from "./test-scratch.ts";

const sizeBytes = 16 * MIB;

async function within() {
  const scratch = await scratchDirectory();
  const socketPath = join(scratch.path, "nbd.sock");
  return { ...scratch, socketPath, file: (name: string) => join(scratch.path, name) };
}

async function readAll(client: NbdClient): Promise<Buffer> {
  const all = Buffer.alloc(client.sizeBytes);
  await client.read(0, all);
  return all;
}

/** Random reads, writes and zeroes at any place, several at once where they do not touch, against an array. */
async function playAgainstModel(client: NbdClient, prng: Prng, rounds: number): Promise<void> {
  const model = await readAll(client);
  for (let round = 0; round < rounds; round += 1) {
    const offset = prng.below(client.sizeBytes - 300 * KIB);
    const length = 1 + prng.below(150 * KIB);
    const bytes = Buffer.alloc(length);
    prng.fill(bytes);
    await Promise.all([
      client.write(offset, bytes, { isDurable: prng.below(4) === 0 }),
      client.zero(offset + length, 1 + (round % 2) * 70_000),
    ]);
    model.set(bytes, offset);
    model.fill(0, offset + length, offset + length + 1 + (round % 2) * 70_000);
    const from = prng.below(client.sizeBytes - 200 * KIB);
    const into = Buffer.alloc(1 + prng.below(200 * KIB));
    await client.read(from, into);
    assert(into.equals(model.subarray(from, from + into.length)), `round ${round}`);
  }
  assert((await readAll(client)).equals(model));
}

describe.skipIf(!isInstalled("qemu-nbd"))("qemu-nbd", () => {
  test("a qcow2 is written, zeroed, trimmed, mapped and read back", async () => {
    await using at = await within();
    await runWell("qemu-img", "create", "-f", "qcow2", at.file("disk"), String(sizeBytes));
    const serving = ["-f", "qcow2", "-k", at.socketPath, "-x", "disk", "-t", "--discard=unmap"];
    {
      await using server = await startServer(
        at.socketPath,
        "qemu-nbd",
        ...serving,
        at.file("disk"),
      );
      const options = { address: server.address, exportName: "disk" };
      assert.deepEqual(
        (await listNbdExports(options)).map(({ name }) => name),
        ["disk"],
      );
      assert((await listNbdMetaContexts(options)).includes(baseAllocation));
      await using client = await connectNbd({ ...options, metaContexts: [baseAllocation] });
      await client.write(MIB, Buffer.alloc(2 * MIB, 0x5a));
      await client.zero(MIB + 64 * KIB, 64 * KIB);
      await client.trim(2 * MIB, MIB);
      await client.cache(0, MIB);
      await client.flush();
      const map = await Array.fromAsync(client.extents(baseAllocation, 0, sizeBytes));
      const data = map.filter(({ flags }) => (flags & 2) === 0);
      assert.deepEqual(
        data.map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
        [
          [MIB, 64 * KIB],
          [MIB + 128 * KIB, MIB - 128 * KIB],
        ],
      );
      await playAgainstModel(client, seededPrng(1), 20);
      await client.write(0, Buffer.from("written last"), { isDurable: true });
    }
    await runWell("qemu-img", "check", at.file("disk"));
    await runWell("qemu-io", "-f", "qcow2", "-c", "read -P 0x77 0 1", at.file("disk"));
  });

  test("an unknown export is NBD_REFUSED, a read-only one cannot be written", async () => {
    await using at = await within();
    await runWell("qemu-img", "create", "-f", "raw", at.file("disk"), String(sizeBytes));
    const serving = ["-r", "-f", "raw", "-k", at.socketPath, "-x", "disk", "-t", "-e", "4"];
    await using server = await startServer(at.socketPath, "qemu-nbd", ...serving, at.file("disk"));
    const { address } = server;
    const isRefused = (error: unknown) => isFault(error, "NBD_REFUSED");
    await assert.rejects(connectNbd({ address, exportName: "other" }), isRefused);
    await using client = await connectNbd({ address, exportName: "disk" });
    await assert.rejects(client.write(0, Buffer.alloc(1)), isRefused);
  });
});

describe.skipIf(!isInstalled("qemu-storage-daemon"))("qemu-storage-daemon", () => {
  test("a dirty bitmap and the allocation come as one map, and a pool reads the disk", async () => {
    await using at = await within();
    const image = at.file("disk");
    await runWell("qemu-img", "create", "-f", "qcow2", image, String(sizeBytes));
    await runWell("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", image);
    await runWell("qemu-img", "bitmap", "--add", "-g", "65536", image, "changes");
    await runWell(
      "qemu-io",
      ...["-f", "qcow2", "-c", "write -P 2 512k 1M", "-c", "write -z 4M 64k", image],
    );
    await using server = await startServer(
      at.socketPath,
      "qemu-storage-daemon",
      ...[
        "--blockdev",
        `driver=qcow2,node-name=disk,read-only=on,file.driver=file,file.filename=${image}`,
      ],
      ...["--nbd-server", `addr.type=unix,addr.path=${at.socketPath},max-connections=0`],
      ...["--export", "type=nbd,id=e,node-name=disk,name=disk,bitmaps.0=changes,writable=off"],
    );
    const dirty = "qemu:dirty-bitmap:changes";
    const options = { address: server.address, exportName: "disk" };
    const queries = ["qemu:dirty-bitmap:"];
    assert.deepEqual(await listNbdMetaContexts({ ...options, queries }), [dirty]);
    await using client = await connectNbd({ ...options, metaContexts: [dirty, baseAllocation] });
    const found = await Array.fromAsync(client.status(0, sizeBytes));
    assert.deepEqual(
      found.map((run) => [
        run.offsetBytes / KIB,
        run.flags[dirty],
        (run.flags[baseAllocation] ?? 0) & 2,
      ]),
      [
        [0, 0, 0],
        [512, 1, 0],
        [1536, 0, 2],
        [4096, 1, 2],
        [4160, 0, 2],
      ],
    );
    const changed = await Array.fromAsync(client.extents(dirty, 0, sizeBytes));
    assert.equal(changed.length, 5);
    await using pool = await openNbdPool(options);
    assert.equal(pool.clients.length, 2);
    const all = Buffer.alloc(sizeBytes, 9);
    await pool.read(0, all);
    const expected = Buffer.alloc(sizeBytes)
      .fill(1, 0, MIB)
      .fill(2, 512 * KIB, 1536 * KIB);
    assert(all.equals(expected));
  });
});

describe.skipIf(!isInstalled("nbdkit"))("nbdkit", () => {
  const random = ["sparse-random", `size=${sizeBytes}`, "seed=3", "percent=40", "runlength=32768"];

  test("what its extents call zero reads as zero, by simple and by structured replies alike", async () => {
    await using at = await within();
    await using server = await startNbdkit(at.socketPath, ...random);
    const { address } = server;
    await using simple = await connectNbd({ address });
    await using structured = await connectNbd({ address, metaContexts: [baseAllocation] });
    const all = await readAll(simple);
    assert(all.equals(await readAll(structured)));
    let zeroBytes = 0;
    for await (const extent of structured.extents(baseAllocation, 0, sizeBytes)) {
      const end = extent.offsetBytes + extent.lengthBytes;
      if (extent.flags === 3) {
        zeroBytes += extent.lengthBytes;
        assert(all.subarray(extent.offsetBytes, end).every((byte) => byte === 0));
      }
    }
    assert(zeroBytes > sizeBytes / 3);
  });

  test("any place and length works with each of its block size policies", async () => {
    for (const sizes of ["512 4096 65536", "4096 4096 4096", "65536 65536 262144"]) {
      const [minimum, preferred, maximum] = sizes.split(" ");
      await using at = await within();
      await using server = await startNbdkit(
        at.socketPath,
        ...["--filter=blocksize-policy", "memory", String(sizeBytes)],
        ...[`blocksize-minimum=${minimum}`, `blocksize-preferred=${preferred}`],
        ...[`blocksize-maximum=${maximum}`, "blocksize-error-policy=error"],
      );
      await using client = await connectNbd({ address: server.address });
      assert.deepEqual(client.blockSizes, {
        minimumBytes: Number(minimum),
        preferredBytes: Number(preferred),
        maximumBytes: Number(maximum),
      });
      await playAgainstModel(client, seededPrng(2), 15);
    }
  });

  test("the error filter's errors are NBD_FAILED with its number, and the connection lives on", async () => {
    await using at = await within();
    const trigger = at.file("broken");
    await using server = await startNbdkit(
      at.socketPath,
      ...["--filter=error", "memory", String(sizeBytes)],
      ...["error=ENOSPC", "error-rate=100%", `error-file=${trigger}`],
    );
    for (const metaContexts of [[], [baseAllocation]]) {
      await using other = await connectNbd({ address: server.address, metaContexts });
      await other.write(0, Buffer.from("fine"));
      await runWell("touch", trigger);
      const isFull = (error: unknown) =>
        isFault(error, "NBD_FAILED") && error.details.reason === "ENOSPC";
      await assert.rejects(other.read(0, Buffer.alloc(8)), isFull);
      await assert.rejects(other.write(0, Buffer.alloc(8)), isFull);
      await assert.rejects(other.zero(0, 8192), isFull);
      await runWell("rm", trigger);
      const into = Buffer.alloc(4);
      await other.read(0, into);
      assert.equal(into.toString(), "fine");
    }
  });

  test("with one error in ten reads, every read fails alone or is right", async () => {
    await using at = await within();
    await using server = await startNbdkit(
      at.socketPath,
      ...["--filter=error", ...random, "error-pread=EIO", "error-pread-rate=10%"],
    );
    await using client = await connectNbd({ address: server.address });
    await using plain = await within();
    await using sound = await startNbdkit(plain.socketPath, ...random);
    await using reference = await connectNbd({ address: sound.address });
    const expected = await readAll(reference);
    const reads = Array.from({ length: 256 }, async (_, index) => {
      const into = Buffer.alloc(64 * KIB, 1);
      const offset = index * 64 * KIB;
      try {
        await client.read(offset, into);
      } catch (error) {
        assert(isFault(error, "NBD_FAILED"));
        return "failed";
      }
      assert(into.equals(expected.subarray(offset, offset + into.length)));
      return "right";
    });
    const outcomes = await Promise.all(reads);
    assert(outcomes.includes("failed") && outcomes.includes("right"));
  });

  test("delayed answers are waited for, many at once, but not without bound", async () => {
    await using at = await within();
    await using server = await startNbdkit(
      at.socketPath,
      ...["--filter=delay", "memory", String(sizeBytes), "rdelay=100ms", "wdelay=30"],
    );
    await using client = await connectNbd({ address: server.address });
    await Promise.all(
      Array.from({ length: 32 }, (_, index) => client.read(index * KIB, Buffer.alloc(KIB))),
    );
    const timeouts = { replyMs: 1500 };
    await using impatient = await connectNbd({ address: server.address, timeouts });
    await impatient.read(0, Buffer.alloc(1));
    const writing = impatient.write(0, Buffer.of(1));
    await assert.rejects(writing, (error) => isFault(error, "TIMEOUT"));
  });

  test("old servers: without structured replies, without options, oldstyle", async () => {
    await using at = await within();
    const cases = [
      { name: "no structured replies", arguments: ["--no-sr"], works: true },
      { name: "newstyle that is not fixed", arguments: ["--mask-handshake=0"], works: true },
      { name: "oldstyle", arguments: ["-o"], works: false },
    ];
    for (const [index, one] of cases.entries()) {
      const socketPath = at.file(`${index}.sock`);
      await using server = await startNbdkit(socketPath, ...one.arguments, ...random);
      const { address } = server;
      const isRefused = (error: unknown) => isFault(error, "NBD_REFUSED");
      const asking = connectNbd({ address, metaContexts: [baseAllocation] });
      await assert.rejects(asking, isRefused, one.name);
      if (!one.works) await assert.rejects(connectNbd({ address }), isRefused);
      else {
        await using client = await connectNbd({ address, replies: "structured" });
        assert.equal(client.features.hasStructuredReplies, false);
        await client.read(0, Buffer.alloc(MIB));
      }
    }
  });

  test("a server killed in the middle is NBD_CLOSED for everything pending", async () => {
    await using at = await within();
    await using server = await startNbdkit(
      at.socketPath,
      ...["--filter=delay", "memory", String(sizeBytes), "rdelay=20"],
    );
    await using pool = await openNbdPool({ address: server.address });
    const reads = Array.from({ length: 8 }, (_, index) =>
      pool.read(index * KIB, Buffer.alloc(KIB)),
    );
    const outcomes = Promise.allSettled(reads);
    server.kill();
    for (const outcome of await outcomes) {
      assert(outcome.status === "rejected" && isFault(outcome.reason, "NBD_CLOSED"));
    }
  });
});
