import assert from "node:assert/strict";
import { type Prng, seededPrng } from "../base/prng.ts";
import {
  type DiskIdentity,
  type DiskName,
  drawDiskIdentity,
  drawPointId,
  type GroupName,
  type MachineName,
  type PointId,
} from "../core/ids.ts";
import type { Journal, JournalIntake, View } from "../core/journal.ts";
import { blockSizeBytes, sectorSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { Generation, Point, PointHeader } from "../core/point.ts";

export const testGroup = "erp" as GroupName;

/** A disk as a guest would have it. */
export interface TestDisk {
  readonly name: DiskName;
  readonly identity: DiskIdentity;
  content: Buffer;
  /** One byte per sector: written since the last point. */
  dirty: Buffer;
  /** Size at the last sealed point; null before the first. */
  sealedSizeBytes: number | null;
}

type Remembered = ReadonlyMap<DiskIdentity, Buffer>;

/** A guest's disks and what they held at each point that was acknowledged: the oracle is a plain array of bytes per point. */
export class TestHistory {
  readonly prng: Prng;
  disks: TestDisk[] = [];
  /** The disk that was added last. */
  lastAdded: TestDisk | null = null;
  /** In which the points are sealed. */
  generation: Generation = { number: 1, holder: "00000000000000aa" };
  readonly remembered = new Map<PointId, Remembered>();
  #clockMs = 1_700_000_000_000;

  constructor(seed: number) {
    this.prng = seededPrng(seed);
  }

  addDisk(name: string, sizeBytes: number): TestDisk {
    const disk: TestDisk = {
      name: name as DiskName,
      identity: drawDiskIdentity(this.prng),
      content: Buffer.alloc(sizeBytes),
      dirty: Buffer.alloc(sizeBytes / sectorSizeBytes),
      sealedSizeBytes: null,
    };
    this.disks.push(disk);
    this.lastAdded = disk;
    return disk;
  }

  /** The guest writes: random bytes, or zeroes. */
  write(disk: TestDisk, offsetBytes: number, lengthBytes: number, isZero = false): void {
    const end = Math.min(offsetBytes + lengthBytes, disk.content.length);
    const run = disk.content.subarray(offsetBytes, end);
    if (isZero) run.fill(0);
    else this.prng.fill(run);
    disk.dirty.fill(1, offsetBytes / sectorSizeBytes, end / sectorSizeBytes);
  }

  resize(disk: TestDisk, sizeBytes: number): void {
    const grown = Buffer.alloc(sizeBytes);
    disk.content.copy(grown);
    const dirty = Buffer.alloc(sizeBytes / sectorSizeBytes, 1);
    disk.dirty.copy(dirty);
    disk.content = grown;
    disk.dirty = dirty;
  }

  /** Some writes, of every shape, on every disk. */
  scribble(writes: number): void {
    for (let count = 0; count < writes; count += 1) {
      const disk = this.disks[this.prng.below(this.disks.length)];
      if (disk === undefined) return;
      const unit = [sectorSizeBytes, 4096, blockSizeBytes, blockSizeBytes][this.prng.below(4)]!;
      const units = Math.ceil(disk.content.length / unit);
      const offset = this.prng.below(units) * unit;
      const length = unit * (1 + this.prng.below(unit === blockSizeBytes ? 20 : 40));
      this.write(disk, offset, length, this.prng.below(4) === 0);
    }
  }

  header(journal: JournalIntake, id = drawPointId(this.prng)): PointHeader {
    const head = journal.head();
    this.#clockMs += 2000;
    return {
      id,
      group: testGroup,
      generation: this.generation,
      sequence: (head?.sequence ?? 0) + 1,
      fromSequence: head?.sequence ?? 0,
      fromPoint: head?.id ?? null,
      instant: { lowerMs: this.#clockMs, upperMs: this.#clockMs + 3, clockErrorMs: null },
      consistency: {
        asked: "crash",
        reached: "crash",
        reason: "Nothing more was asked.",
        isGroupConsistent: true,
        skewMs: 0,
      },
      disks: this.disks.map(({ name, identity, content, sealedSizeBytes }) => ({
        name,
        identity,
        sizeBytes: content.length,
        previousSizeBytes: sealedSizeBytes,
      })),
      machines: [{ name: "erp" as MachineName, platform: "qemu", definition: { cpus: 2 } }],
      notes: [],
    };
  }

  /** Stages a base for a new disk, half of it read before the guest wrote what it holds now. */
  async stageBase(journal: JournalIntake, disk: TestDisk, syncId = drawPointId(this.prng)) {
    const { name, identity, content } = disk;
    const request = {
      kind: "base",
      disk: name,
      identity,
      sizeBytes: content.length,
      syncId,
    } as const;
    const staged = await journal.stage(request);
    for (let at = staged.status.resumeAtBytes; at < content.length; at += windowSizeBytes) {
      const run = content.subarray(at, at + windowSizeBytes);
      if (!run.equals(Buffer.alloc(run.length))) await staged.write(at, Buffer.from(run));
    }
    await staged.checkpoint(content.length);
    disk.dirty.fill(0);
    return staged;
  }

  /** Writes what changed since the last point into a delta and seals it. New disks get their bases. */
  async seal(journal: JournalIntake, header = this.header(journal)): Promise<Point> {
    await using resources = new AsyncDisposableStack();
    const bases = [];
    for (const disk of this.disks) {
      if (disk.sealedSizeBytes !== null) continue;
      bases.push(resources.use(await this.stageBase(journal, disk)));
      this.write(disk, 0, sectorSizeBytes); // The guest went on: the base is not the point.
    }
    const writer = resources.use(await journal.begin(header));
    for (const disk of this.disks) {
      for (const run of dirtyRuns(disk)) {
        const data = disk.content.subarray(run.offsetBytes, run.offsetBytes + run.lengthBytes);
        const isZero = data.equals(Buffer.alloc(data.length));
        if (isZero) await writer.zero(disk.identity, run.offsetBytes, run.lengthBytes);
        else await writer.write(disk.identity, run.offsetBytes, data);
      }
    }
    for (const base of bases) await writer.adopt(base);
    const point = await writer.seal({ dirtyBytes: 1, readBytes: 1 });
    this.acknowledge(point.id);
    return point;
  }

  /** From now on the point must read back as the disks are now. */
  acknowledge(id: PointId): void {
    const copies = this.disks.map((disk) => [disk.identity, Buffer.from(disk.content)] as const);
    this.remembered.set(id, new Map(copies));
    for (const disk of this.disks) {
      disk.sealedSizeBytes = disk.content.length;
      disk.dirty.fill(0);
    }
  }

  /** Every point that the journal shows reads back as it was acknowledged. */
  async check(journal: Pick<Journal, "points" | "open">): Promise<void> {
    for (const point of journal.points()) {
      await using view = await journal.open(point.id);
      await this.checkView(view);
    }
  }

  async checkView(view: View): Promise<void> {
    const expected = this.remembered.get(view.point.id);
    assert(expected !== undefined, `point #${view.point.sequence} was never acknowledged`);
    assert.deepEqual(view.disks.map((disk) => disk.identity).sort(), [...expected.keys()].sort());
    for (const { identity, name, sizeBytes } of view.disks) {
      const wanted: Buffer = expected.get(identity)!;
      assert.equal(sizeBytes, wanted.length);
      const where = `${name} at point #${view.point.sequence}`;
      const read = Buffer.alloc(sizeBytes, 0xee);
      await view.read(identity, 0, read);
      assertSame(read, wanted, where);
      await this.#checkExtents(view, identity, wanted, where);
      for (let count = 0; count < 5; count += 1) {
        const at = this.prng.below(sizeBytes);
        const part = Buffer.alloc(1 + this.prng.below(Math.min(sizeBytes - at, 200_000)));
        await view.read(identity, at, part);
        assertSame(part, wanted.subarray(at, at + part.length), `${where}, part`);
      }
    }
  }

  async #checkExtents(view: View, identity: DiskIdentity, wanted: Buffer, where: string) {
    let at = 0;
    for (const extent of await view.extents(identity, 0, wanted.length)) {
      assert.equal(extent.offsetBytes, at, where);
      at += extent.lengthBytes;
      const bytes = wanted.subarray(extent.offsetBytes, at);
      if (extent.state === "zero")
        assertSame(bytes, Buffer.alloc(bytes.length), `${where}, zeroes`);
    }
    assert.equal(at, wanted.length, where);
  }
}

/** Runs of dirty sectors, cut at windows. */
export function* dirtyRuns(disk: TestDisk) {
  const sectors = disk.content.length / sectorSizeBytes;
  const windowSectors = windowSizeBytes / sectorSizeBytes;
  for (let from = 0; from < sectors; from += 1) {
    if (disk.dirty[from] === 0) continue;
    let to = from + 1;
    while (to < sectors && disk.dirty[to] === 1 && to % windowSectors !== 0) to += 1;
    yield { offsetBytes: from * sectorSizeBytes, lengthBytes: (to - from) * sectorSizeBytes };
    from = to - 1;
  }
}

function assertSame(actual: Buffer, expected: Buffer, where: string): void {
  if (actual.equals(expected)) return;
  const at = actual.findIndex((byte, place) => byte !== expected[place]);
  assert.fail(`${where}: differs at byte ${at}`);
}
