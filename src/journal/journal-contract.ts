import { describe, expect, test } from "vitest";
import { drawPointId } from "../core/ids.ts";
import type { Journal } from "../core/journal.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { TestHistory } from "./history-for-test.ts";

const mib = 1024 * 1024;

/** One empty journal of group `testGroup`; `reopen` closes what was opened before, as a restart would. */
export interface JournalSubject extends AsyncDisposable {
  reopen(): Promise<Journal>;
}

/** What every journal must do; run by each implementation. */
export function journalContract(name: string, makeSubject: () => Promise<JournalSubject>): void {
  describe(`journal contract (${name})`, () => {
    test("a new journal has no head and no points", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      expect(journal.head()).toBeNull();
      expect(journal.points()).toEqual([]);
      expect(await journal.staged()).toEqual([]);
    });

    test("the first point is the staged base and what changed meanwhile", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(1);
      const disk = history.addDisk("db/data", 3 * mib + 512);
      history.write(disk, mib, mib);
      const point = await history.seal(journal);
      expect(journal.head()).toEqual(point);
      expect(point).toMatchObject({ sequence: 1, fromSequence: 0, fromPoint: null });
      expect(point.machines).toHaveLength(1);
      await history.check(journal);
    });

    test("every point reads back as it was, also after a restart", async () => {
      await using subject = await makeSubject();
      let journal = await subject.reopen();
      const history = new TestHistory(2);
      history.addDisk("db/data", 4 * mib);
      history.addDisk("db/log", 2 * mib + 4096);
      for (let count = 0; count < 5; count += 1) {
        history.scribble(8);
        await history.seal(journal);
      }
      await history.check(journal);
      const before = journal.points();
      journal = await subject.reopen();
      expect(journal.points()).toEqual(before);
      expect(journal.points().map((point) => point.sequence)).toEqual([1, 2, 3, 4, 5]);
      await history.check(journal);
    });

    test("a delta that does not start from the head is refused", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(3);
      history.addDisk("db/data", mib);
      const first = await history.seal(journal);
      const header = history.header(journal);
      const refused = { code: "SEAL_REFUSED" };
      const stranger = drawPointId(history.prng);
      await expect(journal.begin({ ...header, fromPoint: stranger })).rejects.toMatchObject(
        refused,
      );
      await expect(
        journal.begin({ ...header, fromSequence: 0, fromPoint: null }),
      ).rejects.toMatchObject(refused);
      expect(journal.head()).toEqual(first);
      await history.seal(journal);
      await history.check(journal);
    });

    test("the same delta again gets the same answer, other content is refused", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(4);
      const disk = history.addDisk("db/data", mib);
      await history.seal(journal);
      const header = history.header(journal);
      const data = Buffer.alloc(blockSizeBytes, 7);
      const sealWith = async (bytes: Buffer) => {
        await using writer = await journal.begin(header);
        await writer.write(disk.identity, 0, bytes);
        const point = await writer.seal({ dirtyBytes: 0, readBytes: 0 });
        expect(await writer.seal({ dirtyBytes: 0, readBytes: 0 })).toEqual(point);
        return point;
      };
      const point = await sealWith(data);
      data.copy(disk.content);
      history.acknowledge(point.id);
      expect(await sealWith(data)).toEqual(point);
      await expect(sealWith(Buffer.alloc(blockSizeBytes, 8))).rejects.toMatchObject({
        code: "SEAL_REFUSED",
      });
      expect(journal.points()).toHaveLength(2);
      await history.check(journal);
    });

    test("a delta that is given up leaves nothing", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(5);
      const disk = history.addDisk("db/data", mib);
      const first = await history.seal(journal);
      {
        await using writer = await journal.begin(history.header(journal));
        await writer.write(disk.identity, 0, Buffer.alloc(blockSizeBytes, 1));
      }
      expect(journal.head()).toEqual(first);
      history.scribble(3);
      await history.seal(journal);
      await history.check(await subject.reopen());
    });

    test("a disk without a staged base is refused", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(6);
      history.addDisk("db/data", mib);
      await using writer = await journal.begin(history.header(journal));
      await expect(writer.seal({ dirtyBytes: 0, readBytes: 0 })).rejects.toMatchObject({
        code: "SEAL_REFUSED",
      });
      expect(journal.head()).toBeNull();
    });

    test("disks grow, shrink, come and go", async () => {
      await using subject = await makeSubject();
      const journal = await subject.reopen();
      const history = new TestHistory(7);
      const disk = history.addDisk("db/data", 3 * mib);
      history.write(disk, 0, 3 * mib);
      await history.seal(journal);
      for (const sizeBytes of [mib + 512, 4 * mib, 2 * mib + 1024, 2 * mib + 4096, 5 * mib]) {
        history.resize(disk, sizeBytes);
        history.scribble(2);
        await history.seal(journal);
      }
      const extra = history.addDisk("db/extra", mib);
      history.write(extra, 0, mib);
      await history.seal(journal);
      history.disks = [disk];
      history.scribble(2);
      await history.seal(journal);
      const again = history.addDisk("db/extra", mib);
      history.write(again, 4096, 4096);
      await history.seal(journal);
      await history.check(journal);
      await history.check(await subject.reopen());
    });

    stagingContract(makeSubject);
  });
}

function stagingContract(makeSubject: () => Promise<JournalSubject>): void {
  test("a staged base is found again after a restart and goes on where it was", async () => {
    await using subject = await makeSubject();
    const history = new TestHistory(8);
    const disk = history.addDisk("db/data", 4 * mib + 512);
    history.write(disk, 0, 4 * mib + 512);
    const { name, identity, content } = disk;
    const syncId = drawPointId(history.prng);
    const request = {
      kind: "base",
      disk: name,
      identity,
      sizeBytes: content.length,
      syncId,
    } as const;
    {
      await using staged = await (await subject.reopen()).stage(request);
      expect(staged.status).toMatchObject({ resumeAtBytes: 0, syncId });
      await staged.write(0, content.subarray(0, mib));
      await staged.checkpoint(mib);
      await staged.write(mib, content.subarray(mib, 2 * mib));
    }
    const journal = await subject.reopen();
    expect(await journal.staged()).toMatchObject([{ identity, resumeAtBytes: mib, syncId }]);
    {
      await using staged = await journal.stage(request);
      expect(staged.status.resumeAtBytes).toBe(mib);
      await expectHashesToMatch(staged, content.subarray(0, 2 * mib), 0);
    }
    await history.seal(journal);
    expect(await journal.staged()).toEqual([]);
    await history.check(journal);
  });

  test("hashes of a staged base are those of its blocks, a short last one included", async () => {
    await using subject = await makeSubject();
    const journal = await subject.reopen();
    const history = new TestHistory(9);
    const disk = history.addDisk("db/data", mib + 1536);
    const syncId = drawPointId(history.prng);
    const request = { kind: "base", disk: disk.name, identity: disk.identity, syncId } as const;
    await using staged = await journal.stage({ ...request, sizeBytes: mib + 1536 });
    await expectHashesToMatch(staged, disk.content, 0);
    history.write(disk, 0, mib + 1536);
    history.write(disk, blockSizeBytes, blockSizeBytes, true);
    await staged.write(0, disk.content.subarray(0, mib));
    await staged.zero(blockSizeBytes, blockSizeBytes);
    await staged.write(mib, disk.content.subarray(mib));
    await expectHashesToMatch(staged, disk.content, 0);
    await staged.zero(mib, 1536);
    disk.content.fill(0, mib);
    await expectHashesToMatch(staged, disk.content, 0);
  });

  test("staged parts join the delta beneath what the freeze read", async () => {
    await using subject = await makeSubject();
    const journal = await subject.reopen();
    const history = new TestHistory(10);
    const disk = history.addDisk("db/data", 3 * mib + 512);
    history.write(disk, 0, 2 * mib);
    await history.seal(journal);
    history.scribble(5);
    await history.seal(journal);
    const { name, identity } = disk;
    const request = {
      kind: "parts",
      disk: name,
      identity,
      sizeBytes: disk.content.length,
    } as const;
    await using staged = await journal.stage({ ...request, syncId: drawPointId(history.prng) });
    await expectHashesToMatch(staged, disk.content, 0);
    history.write(disk, 0, blockSizeBytes);
    history.write(disk, 5 * blockSizeBytes, 2 * blockSizeBytes, true);
    history.write(disk, 3 * mib, 512);
    await staged.write(0, disk.content.subarray(0, blockSizeBytes));
    await staged.zero(5 * blockSizeBytes, 2 * blockSizeBytes);
    await staged.write(3 * mib, disk.content.subarray(3 * mib));
    await expectHashesToMatch(staged, disk.content, 0);
    await staged.checkpoint(disk.content.length);
    history.write(disk, 4096, 4096); // Newer than what was staged.
    const header = history.header(journal);
    await using writer = await journal.begin(header);
    await writer.write(identity, 4096, disk.content.subarray(4096, 8192));
    await writer.adopt(staged);
    await writer.seal({ dirtyBytes: 0, readBytes: 0 });
    history.acknowledge(header.id);
    expect(await journal.staged()).toEqual([]);
    await history.check(journal);
    await history.check(await subject.reopen());
  });

  test("a sync that was not read to its end is not taken over", async () => {
    await using subject = await makeSubject();
    const journal = await subject.reopen();
    const history = new TestHistory(12);
    const { name, identity } = history.addDisk("db/data", mib);
    const syncId = drawPointId(history.prng);
    const request = { kind: "base", disk: name, identity, sizeBytes: mib, syncId } as const;
    await using staged = await journal.stage(request);
    await staged.checkpoint(mib - blockSizeBytes);
    await using writer = await journal.begin(history.header(journal));
    await expect(writer.adopt(staged)).rejects.toMatchObject({ code: "SEAL_REFUSED" });
  });

  test("what was staged under another kind or identity is discarded", async () => {
    await using subject = await makeSubject();
    const journal = await subject.reopen();
    const history = new TestHistory(11);
    const disk = history.addDisk("db/data", mib);
    const twin = history.addDisk("db/data", mib);
    const syncId = drawPointId(history.prng);
    const request = { kind: "base", disk: disk.name, sizeBytes: mib, syncId } as const;
    await (await journal.stage({ ...request, identity: disk.identity }))[Symbol.asyncDispose]();
    await using staged = await journal.stage({ ...request, identity: twin.identity });
    expect(await journal.staged()).toMatchObject([{ identity: twin.identity }]);
    await staged.discard();
    expect(await journal.staged()).toEqual([]);
  });
}

async function expectHashesToMatch(
  staged: { hashes(offsetBytes: number, into: Uint8Array): Promise<void> },
  content: Buffer,
  offsetBytes: number,
): Promise<void> {
  const blocks = Math.ceil(content.length / blockSizeBytes);
  const hashes = Buffer.alloc(blocks * 32);
  await staged.hashes(offsetBytes, hashes);
  for (let block = 0; block < blocks; block += 1) {
    const bytes = content.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes);
    const expected = Buffer.from(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
    expect(hashes.subarray(block * 32, block * 32 + 32).toString("hex"), `block ${block}`).toBe(
      expected.toString("hex"),
    );
  }
}
