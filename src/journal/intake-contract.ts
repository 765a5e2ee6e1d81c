import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { drawPointId } from "../core/ids.ts";
import type { JournalIntake, StoredChunk } from "../core/journal.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { encodeZstdPayload } from "../format/codec.ts";
import { TestHistory, testGroup } from "./history-for-test.ts";

const mib = 1024 * 1024;

/** One empty group `testGroup` to write points to; `reopen` closes what was opened before, as a restart would. */
export interface IntakeSubject extends AsyncDisposable {
  reopen(): Promise<JournalIntake>;
}

/** A chunk as a delta or the wire has it. */
export async function storedChunk(
  offsetBytes: number,
  data: Buffer,
  codec: "raw" | "zstd" = "raw",
): Promise<StoredChunk> {
  const hashes: Buffer[] = [];
  for (let at = 0; at < data.length; at += blockSizeBytes) {
    hashes.push(
      createHash("sha256")
        .update(data.subarray(at, at + blockSizeBytes))
        .digest(),
    );
  }
  const compressed = await encodeZstdPayload(data, { usesThreads: false });
  const payload = codec === "raw" ? data : compressed;
  if (payload === null) throw new TypeError("the data of the test does not compress");
  const list = Buffer.concat(hashes);
  return { offsetBytes, lengthBytes: data.length, codec, list, payload };
}

/** What everything that points can be written to must do: a journal, a link to one, a spool before either. */
export function intakeContract(name: string, makeSubject: () => Promise<IntakeSubject>): void {
  describe(`intake contract (${name})`, () => {
    test("asked anew, it says who may write and where the head is", async () => {
      await using subject = await makeSubject();
      const intake = await subject.reopen();
      expect(await intake.ask()).toMatchObject({ head: null, staged: [], generation: null });
      const history = new TestHistory(1);
      history.addDisk("db/data", mib);
      const point = await history.seal(intake);
      const standing = await (await subject.reopen()).ask();
      expect(standing.head?.id).toBe(point.id);
      expect(standing.generation).toEqual(point.generation);
      expect(intake.owedSince()).toBeNull();
    });

    test("a chunk that another stored is a chunk, compressed or not", async () => {
      await using subject = await makeSubject();
      const { intake, history, disk } = await withOnePoint(subject);
      const data = Buffer.alloc(3 * blockSizeBytes, "text ");
      const header = history.header(intake);
      {
        await using writer = await intake.begin(header);
        await writer.writeStored(disk.identity, await storedChunk(0, data));
        await writer.writeStored(disk.identity, await storedChunk(mib, data, "zstd"));
        const point = await writer.seal({ dirtyBytes: 1, readBytes: 1 });
        expect(point.cost.dataBytes).toBe(2 * data.length);
      }
    });

    test("a damaged chunk is refused, and the delta goes on with a good one", async () => {
      await using subject = await makeSubject();
      const { intake, history, disk } = await withOnePoint(subject);
      await using writer = await intake.begin(history.header(intake));
      const good = await storedChunk(0, Buffer.alloc(2 * blockSizeBytes, "text "), "zstd");
      const flipped = Buffer.from(good.payload);
      flipped[flipped.length - 9]! ^= 1;
      const bomb = zstdCompressSync(Buffer.alloc(8 * mib));
      const outside = { ...good, offsetBytes: 64 * mib };
      const bad: readonly StoredChunk[] = [
        { ...good, payload: flipped },
        { ...good, payload: bomb },
        { ...good, list: Buffer.from(good.list).fill(0, 32, 40) },
        { ...good, list: good.list.subarray(32) },
        { ...good, codec: "raw" },
        { ...good, lengthBytes: blockSizeBytes },
        { ...good, offsetBytes: 511 },
        { ...good, offsetBytes: mib - blockSizeBytes },
        outside,
      ];
      const corrupt = { code: "DELTA_CORRUPT" };
      for (const chunk of bad) {
        const writing = writer.writeStored(disk.identity, chunk);
        await expect(writing).rejects.toMatchObject(corrupt);
      }
      await writer.writeStored(disk.identity, good);
      expect((await writer.seal({ dirtyBytes: 1, readBytes: 1 })).cost.dataBytes).toBe(131_072);
    });

    test("a point whose content is not what was sent is not sealed", async () => {
      await using subject = await makeSubject();
      const { intake, history, disk } = await withOnePoint(subject);
      const before = intake.head();
      {
        await using writer = await intake.begin(history.header(intake));
        await writer.write(disk.identity, 0, Buffer.alloc(512, 1));
        const sealing = { dirtyBytes: 1, readBytes: 1, contentRoot: before!.contentRoot };
        await expect(writer.seal(sealing)).rejects.toMatchObject({ code: "DELTA_CORRUPT" });
      }
      expect(intake.head()).toEqual(before);
      history.scribble(1);
      await history.seal(intake);
    });

    test("two extents that overlap are never sealed", async () => {
      await using subject = await makeSubject();
      const { intake, history, disk } = await withOnePoint(subject);
      await using writer = await intake.begin(history.header(intake));
      await writer.writeStored(disk.identity, await storedChunk(0, Buffer.alloc(1024, 1)));
      await writer.writeStored(disk.identity, await storedChunk(512, Buffer.alloc(1024, 1)));
      const sealing = writer.seal({ dirtyBytes: 1, readBytes: 1 });
      await expect(sealing).rejects.toMatchObject({ code: "DELTA_CORRUPT" });
    });

    test("the clocks when it was taken stand beside the point", async () => {
      await using subject = await makeSubject();
      const { intake, history } = await withOnePoint(subject);
      expect(intake.head()?.clock).toBeNull();
      const clock = { offsetMs: -1_500, errorMs: 3 };
      {
        await using writer = await intake.begin(history.header(intake));
        await writer.seal({ dirtyBytes: 0, readBytes: 0, clock });
      }
      expect((await (await subject.reopen()).ask()).head?.clock).toEqual(clock);
    });

    test("that nothing has changed since the head is kept beside it, of the head only", async () => {
      await using subject = await makeSubject();
      const { intake, history } = await withOnePoint(subject);
      const point = intake.head()!.id;
      const atMs = intake.head()!.instant.lowerMs + 5_000;
      await intake.confirmCurrent({ point, atMs });
      await intake.confirmCurrent({ point: drawPointId(history.prng), atMs: atMs + 1 });
      await intake.confirmCurrent({ point, atMs: atMs - 1 });
      expect((await intake.ask()).head?.currentAtMs).toBe(atMs);
      const next = await history.seal(intake);
      expect(next.currentAtMs).toBeNull();
      await intake.confirmCurrent({ point, atMs: atMs + 2 });
      expect((await intake.ask()).head?.currentAtMs).toBeNull();
    });

    test("only the holder of the current generation writes", async () => {
      await using subject = await makeSubject();
      const intake = await subject.reopen();
      const history = new TestHistory(3);
      history.addDisk("db/data", mib);
      const early = { ...history.header(intake), generation: { number: 2, holder: holder(1) } };
      await expect(intake.begin(early)).rejects.toMatchObject({ code: "GENERATION_CONFLICT" });
      await history.seal(intake);
      const header = history.header(intake);
      const asWriter = (number: number, who: string) =>
        intake.begin({ ...header, generation: { number, holder: who } });
      const details = { holder: "00000000000000aa", number: 1, group: testGroup };
      const stale = { code: "GENERATION_STALE", details };
      const conflict = { code: "GENERATION_CONFLICT", details };
      await expect(asWriter(0, "00000000000000aa")).rejects.toMatchObject(stale);
      await expect(asWriter(1, holder(0xbb))).rejects.toMatchObject(conflict);
      await expect(asWriter(2, "00000000000000aa")).rejects.toMatchObject(conflict);
    });
  });
}

function holder(number: number): string {
  return number.toString(16).padStart(16, "0");
}

async function withOnePoint(subject: IntakeSubject) {
  const intake = await subject.reopen();
  const history = new TestHistory(2);
  const disk = history.addDisk("db/data", 3 * mib);
  await history.seal(intake);
  return { intake, history, disk };
}
