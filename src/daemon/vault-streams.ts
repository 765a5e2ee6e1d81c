import { Fault } from "../base/fault.ts";
import { type DiskIdentity, parseDiskIdentity, parseDiskName, parsePointId } from "../core/ids.ts";
import type {
  PointWriter,
  Sealing,
  StagedDisk,
  StageRequest,
  StoredChunk,
} from "../core/journal.ts";
import {
  blockSizeBytes,
  diskSizeBytesMax,
  hashLengthBytes,
  sectorSizeBytes,
  windowSizeBytes,
} from "../core/limits.ts";
import type { Point, PointHeader } from "../core/point.ts";

/** The last instant of ECMA-262's Date: the year 275760. */
const instantMsMax = 8.64e15;

/** What reaches a group from outside, as it happens. */
export interface IntakeWatcher {
  /** Bytes of a delta or of staged parts were taken: as they came, and what they stand for. */
  readonly onBytes: (wireBytes: number) => void;
  /** A part of a sync is durable. */
  readonly onCheckpoint: () => void;
  readonly onConfirmed: () => void;
  readonly onSealed: (point: Point) => void;
  /** Something that a peer asked for was refused or failed; the peer was told. */
  readonly onFault?: (fault: Fault) => void;
}

/** Does something for a peer; a fault goes to the watcher, too. */
export async function watched<Result>(
  watcher: Pick<IntakeWatcher, "onFault">,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Fault) watcher.onFault?.(error);
    throw error;
  }
}

/** Work that may still be going on when its owner ends. */
class UnderWay {
  readonly #works = new Set<Promise<unknown>>();

  run<Result>(work: () => Promise<Result>): Promise<Result> {
    const running = work();
    const noted: Promise<unknown> = running
      .catch(() => {}) // Its caller's.
      .then(() => this.#works.delete(noted));
    this.#works.add(noted);
    return running;
  }

  async settled(): Promise<void> {
    while (this.#works.size > 0) await Promise.all(this.#works);
  }
}

/** A delta of a peer; over as soon as the peer begins another, or its way to the group ends. */
export class VaultPointWriter implements PointWriter {
  /** Whoever opened it: an identity, nothing else. */
  readonly owner: object;
  readonly #inner: PointWriter;
  readonly #reachBytes: ReadonlyMap<DiskIdentity, number>;
  readonly #watcher: IntakeWatcher;
  readonly #underWay = new UnderWay();
  #isOver = false;

  constructor(parts: {
    inner: PointWriter;
    header: PointHeader;
    owner: object;
    watcher: IntakeWatcher;
  }) {
    this.owner = parts.owner;
    this.#inner = parts.inner;
    this.#watcher = parts.watcher;
    this.#reachBytes = new Map(
      parts.header.disks.map(({ identity, sizeBytes, previousSizeBytes }) => [
        identity,
        Math.max(sizeBytes, previousSizeBytes ?? 0),
      ]),
    );
  }

  async write(disk: DiskIdentity, offsetBytes: number, data: Uint8Array): Promise<void> {
    checkRun(offsetBytes, data.length, this.#reachBytes.get(disk) ?? 0);
    if ((offsetBytes % windowSizeBytes) + data.length > windowSizeBytes) throw nowhere();
    await this.#unlessOver(() => this.#inner.write(disk, offsetBytes, data));
    this.#watcher.onBytes(data.length);
  }

  async zero(disk: DiskIdentity, offsetBytes: number, lengthBytes: number): Promise<void> {
    checkRun(offsetBytes, lengthBytes, this.#reachBytes.get(disk) ?? 0);
    await this.#unlessOver(() => this.#inner.zero(disk, offsetBytes, lengthBytes));
    this.#watcher.onBytes(0);
  }

  async writeStored(disk: DiskIdentity, chunk: StoredChunk): Promise<void> {
    const wireBytes = chunk.list.length + chunk.payload.length;
    await this.#unlessOver(() => this.#inner.writeStored(disk, chunk));
    this.#watcher.onBytes(wireBytes);
  }

  async adopt(staged: StagedDisk): Promise<void> {
    if (!(staged instanceof VaultStagedDisk) || staged.owner !== this.owner) {
      throw protocolFault("a point takes over parts that this peer did not stage");
    }
    await this.#unlessOver(() => staged.use((inner) => this.#inner.adopt(inner)));
  }

  async seal(sealing: Sealing): Promise<Point> {
    checkSealing(sealing);
    const point = await this.#unlessOver(() => this.#inner.seal(sealing));
    this.#watcher.onSealed(point);
    return point;
  }

  /** Waits for what is under way; a seal that was asked for comes to its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#inner[Symbol.asyncDispose]();
    await this.#underWay.settled();
  }

  async #unlessOver<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isOver) throw overFault();
    try {
      return await this.#underWay.run(() => watched(this.#watcher, work));
    } catch (error) {
      // What was interrupted says so in its own way.
      if (this.#isOver && !(error instanceof Fault)) throw overFault(error);
      throw error;
    }
  }
}

/** Parts that a peer stages; over as soon as the disk is staged anew, or its way to the group ends. */
export class VaultStagedDisk implements StagedDisk {
  /** Whoever opened it: an identity, nothing else. */
  readonly owner: object;
  readonly #inner: StagedDisk;
  readonly #watcher: IntakeWatcher;
  readonly #underWay = new UnderWay();
  #isOver = false;

  constructor(parts: { inner: StagedDisk; owner: object; watcher: IntakeWatcher }) {
    this.owner = parts.owner;
    this.#inner = parts.inner;
    this.#watcher = parts.watcher;
  }

  get status() {
    return this.#inner.status;
  }

  /** Does something with the journal's own parts, which stay open until it ends. LINK_RESET when they are over. */
  async use<Result>(work: (inner: StagedDisk) => Promise<Result>): Promise<Result> {
    if (this.#isOver) throw overFault();
    return this.#underWay.run(() => watched(this.#watcher, () => work(this.#inner)));
  }

  async hashes(offsetBytes: number, into: Uint8Array): Promise<void> {
    const blocks = into.length / hashLengthBytes;
    const endBlock = offsetBytes / blockSizeBytes + blocks;
    const areThere = endBlock <= Math.ceil(this.status.sizeBytes / blockSizeBytes);
    if (!Number.isInteger(endBlock) || !Number.isInteger(blocks) || offsetBytes < 0 || !areThere) {
      throw nowhere();
    }
    await this.use((inner) => inner.hashes(offsetBytes, into));
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#checkBlocks(offsetBytes, data.length);
    await this.use((inner) => inner.write(offsetBytes, data));
    this.#watcher.onBytes(data.length);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#checkBlocks(offsetBytes, lengthBytes);
    await this.use((inner) => inner.zero(offsetBytes, lengthBytes));
    this.#watcher.onBytes(0);
  }

  async checkpoint(resumeAtBytes: number): Promise<void> {
    const { sizeBytes } = this.status;
    const isThere = Number.isSafeInteger(resumeAtBytes) && resumeAtBytes >= 0;
    if (!isThere || resumeAtBytes > sizeBytes) throw nowhere();
    await this.use((inner) => inner.checkpoint(resumeAtBytes));
    this.#watcher.onCheckpoint();
  }

  async discard(): Promise<void> {
    await this.use((inner) => inner.discard());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#underWay.settled();
    await this.#inner[Symbol.asyncDispose]();
  }

  #checkBlocks(offsetBytes: number, lengthBytes: number): void {
    const { sizeBytes } = this.status;
    checkRun(offsetBytes, lengthBytes, sizeBytes);
    const endBytes = offsetBytes + lengthBytes;
    const isWhole = endBytes % blockSizeBytes === 0 || endBytes === sizeBytes;
    if (offsetBytes % blockSizeBytes !== 0 || !isWhole) throw nowhere();
  }
}

function checkRun(offsetBytes: number, lengthBytes: number, reachBytes: number): void {
  const isRun =
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes > 0 &&
    offsetBytes % sectorSizeBytes === 0 &&
    lengthBytes % sectorSizeBytes === 0 &&
    offsetBytes + lengthBytes <= reachBytes;
  if (!isRun) throw nowhere();
}

function checkSealing({ dirtyBytes, readBytes, clock }: Sealing): void {
  const counts = [dirtyBytes, readBytes];
  const isCounted = counts.every((count) => Number.isSafeInteger(count) && count >= 0);
  const isCompared =
    clock == null ||
    (Number.isSafeInteger(clock.offsetMs) &&
      Number.isSafeInteger(clock.errorMs) &&
      clock.errorMs >= 1);
  if (!isCounted || !isCompared) throw protocolFault("a seal says what cannot be");
}

function nowhere(): Fault {
  return protocolFault("what was sent does not lie on its disk");
}

function protocolFault(message: string): Fault {
  return new Fault("LINK_PROTOCOL", message);
}

/** LINK_RESET: whoever asks must attach anew. */
export function overFault(cause?: unknown): Fault {
  const message = "it was begun anew, or its session ended";
  return new Fault("LINK_RESET", message, {}, { cause });
}

/** LINK_PROTOCOL unless it is an instant that people's programs can write down: ECMA-262, 21.4.1.1, from 1970 on. */
export function checkInstant(atMs: number): void {
  if (Number.isSafeInteger(atMs) && atMs >= 0 && atMs <= instantMsMax) return;
  throw protocolFault("an instant is none that a clock shows");
}

/** LINK_PROTOCOL unless the request names what can be a disk: names become paths. */
export function checkStageRequest({ disk, identity, sizeBytes, syncId }: StageRequest): void {
  const isNamed =
    parseDiskName(disk) !== null &&
    parseDiskIdentity(identity) !== null &&
    parsePointId(syncId) !== null;
  if (!isNamed) throw protocolFault("what is to be staged has an impossible name");
  checkRun(0, sizeBytes, diskSizeBytesMax);
}
