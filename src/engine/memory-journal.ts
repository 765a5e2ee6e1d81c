import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Fault } from "../base/fault.ts";
import type { DiskIdentity, HashHex, PointId } from "../core/ids.ts";
import type {
  Journal,
  PointWriter,
  StagedDisk,
  StagedStatus,
  StageRequest,
  View,
} from "../core/journal.ts";
import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { Point, PointCost, PointHeader } from "../core/point.ts";
import { hashOf } from "./block-hashes.ts";

/** What of a memory journal outlives its process. */
export interface MemoryVault {
  readonly points: Point[];
  /** Content of each point's disks. */
  readonly contents: Map<PointId, ReadonlyMap<DiskIdentity, Uint8Array>>;
  readonly staged: Map<string, { status: StagedStatus; parts: Map<number, Uint8Array> }>;
  /** Every write and zero that reached a delta, for tests that ask what was stored. */
  readonly stored: { disk: DiskIdentity; offsetBytes: number; lengthBytes: number }[];
}

/** An empty vault. */
export function memoryVault(): MemoryVault {
  return { points: [], contents: new Map(), staged: new Map(), stored: [] };
}

/** The journal port over plain arrays, for tests of the engine: small disks, everything durable at once. */
export function memoryJournal(vault: MemoryVault): Journal {
  const head = () => vault.points.at(-1) ?? null;
  return {
    head,
    points: () => vault.points,
    begin: async (header) => {
      if ((head()?.id ?? null) !== header.fromPoint) {
        throw new Fault("SEAL_REFUSED", "not the head", { fromPoint: header.fromPoint });
      }
      return memoryWriter(vault, header);
    },
    stage: async (request) => memoryStagedDisk(vault, request),
    staged: async () => [...vault.staged.values()].map(({ status }) => status),
    open: async (point) => memoryView(vault, point),
    [Symbol.asyncDispose]: async () => {},
  };
}

function headContent(vault: MemoryVault, identity: DiskIdentity): Uint8Array | undefined {
  const head = vault.points.at(-1);
  return head === undefined ? undefined : vault.contents.get(head.id)?.get(identity);
}

/** `bytes` cut or filled up with zeroes to a size. */
function resized(bytes: Uint8Array | undefined, sizeBytes: number): Uint8Array {
  const result = new Uint8Array(sizeBytes);
  if (bytes !== undefined) result.set(bytes.subarray(0, sizeBytes));
  return result;
}

type Change = {
  disk: DiskIdentity;
  offsetBytes: number;
  lengthBytes: number;
  data: Uint8Array | null;
};

function memoryWriter(vault: MemoryVault, header: PointHeader): PointWriter {
  const changes: Change[] = [];
  const adopted: { status: StagedStatus; parts: Map<number, Uint8Array> }[] = [];
  let sealed: Point | null = null;

  const add = async (change: Change) => {
    const { disk, offsetBytes, lengthBytes } = change;
    assert(header.disks.some(({ identity }) => identity === disk));
    assert(
      changes.every(
        (other) =>
          other.disk !== disk ||
          other.offsetBytes + other.lengthBytes <= offsetBytes ||
          offsetBytes + lengthBytes <= other.offsetBytes,
      ),
      "the same bytes twice",
    );
    changes.push(change);
  };

  const contents = (): Map<DiskIdentity, Uint8Array> => {
    const result = new Map<DiskIdentity, Uint8Array>();
    for (const disk of header.disks) {
      const largest = Math.max(disk.sizeBytes, disk.previousSizeBytes ?? 0);
      const bytes = resized(headContent(vault, disk.identity), largest);
      for (const { parts } of adopted.filter(({ status }) => status.identity === disk.identity)) {
        for (const [offsetBytes, part] of parts) bytes.set(part, offsetBytes);
      }
      for (const change of changes.filter((change) => change.disk === disk.identity)) {
        const end = change.offsetBytes + change.lengthBytes;
        if (change.data === null) bytes.fill(0, change.offsetBytes, end);
        else bytes.set(change.data, change.offsetBytes);
      }
      assert(
        bytes.subarray(disk.sizeBytes).every((byte) => byte === 0),
        "a cut tail is zero",
      );
      result.set(disk.identity, resized(bytes, disk.sizeBytes));
    }
    return result;
  };

  return {
    write: async (disk, offsetBytes, data) => {
      const window = (at: number) => Math.floor(at / windowSizeBytes);
      assert(window(offsetBytes) === window(offsetBytes + data.length - 1), "crosses a window");
      await add({ disk, offsetBytes, lengthBytes: data.length, data: Uint8Array.from(data) });
    },
    zero: (disk, offsetBytes, lengthBytes) => add({ disk, offsetBytes, lengthBytes, data: null }),
    adopt: async (staged) => {
      const found = vault.staged.get(staged.status.disk);
      assert(found, "nothing staged");
      adopted.push(found);
    },
    seal: async (cost) => {
      assert(sealed === null, "sealed twice");
      vault.contents.set(header.id, contents());
      sealed = pointOf(header, changes, cost);
      vault.points.push(sealed);
      for (const { disk, offsetBytes, lengthBytes } of changes) {
        vault.stored.push({ disk, offsetBytes, lengthBytes });
      }
      for (const { status } of adopted) vault.staged.delete(status.disk);
      return sealed;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function pointOf(
  header: PointHeader,
  changes: readonly Change[],
  cost: Pick<PointCost, "dirtyBytes" | "readBytes">,
): Point {
  const sum = (isData: boolean) =>
    changes
      .filter((change) => (change.data !== null) === isData)
      .reduce((total, change) => total + change.lengthBytes, 0);
  const root = createHash("sha256").update(JSON.stringify(header));
  for (const change of changes) root.update(change.data ?? String(change.lengthBytes));
  return {
    ...header,
    contentRoot: root.digest("hex") as HashHex,
    sealedAtMs: header.instant.upperMs,
    cost: { ...cost, dataBytes: sum(true), zeroBytes: sum(false), storedBytes: sum(true) },
    verifiedAtMs: null,
    drilledAtMs: null,
  };
}

function memoryStagedDisk(vault: MemoryVault, request: StageRequest): StagedDisk {
  const { disk, kind, identity, sizeBytes } = request;
  const found = vault.staged.get(disk);
  const isSame = found?.status.kind === kind && found.status.identity === identity;
  const parts = isSame ? found.parts : new Map<number, Uint8Array>();
  const resumeAtBytes = isSame ? found.status.resumeAtBytes : 0;
  const entry = { status: { ...request, resumeAtBytes }, parts };
  vault.staged.set(disk, entry);
  const block = (offsetBytes: number): Uint8Array => {
    const lengthBytes = Math.min(blockSizeBytes, sizeBytes - offsetBytes);
    const over = kind === "parts" ? headContent(vault, identity) : undefined;
    return (
      parts.get(offsetBytes) ??
      resized(over?.subarray(offsetBytes, offsetBytes + lengthBytes), lengthBytes)
    );
  };
  return {
    get status() {
      return entry.status;
    },
    hashes: async (offsetBytes, into) => {
      for (let index = 0; index * 32 < into.length; index += 1) {
        into.set(hashOf(block(offsetBytes + index * blockSizeBytes)), index * 32);
      }
    },
    write: async (offsetBytes, data) => {
      for (let start = 0; start < data.length; start += blockSizeBytes) {
        parts.set(offsetBytes + start, data.slice(start, start + blockSizeBytes));
      }
    },
    zero: async (offsetBytes, lengthBytes) => {
      for (let start = 0; start < lengthBytes; start += blockSizeBytes) {
        parts.set(
          offsetBytes + start,
          new Uint8Array(Math.min(blockSizeBytes, lengthBytes - start)),
        );
      }
    },
    checkpoint: async (resumeAtBytes) => {
      entry.status = { ...entry.status, resumeAtBytes };
    },
    discard: async () => {
      if (vault.staged.get(disk) === entry) vault.staged.delete(disk);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function memoryView(vault: MemoryVault, id: PointId): View {
  const point = vault.points.find((at) => at.id === id);
  const contents = vault.contents.get(id);
  if (point === undefined || contents === undefined) throw new Fault("POINT_UNKNOWN", id);
  return {
    point,
    disks: point.disks,
    read: async (disk, offsetBytes, into) => {
      const bytes = contents.get(disk);
      assert(bytes);
      into.set(bytes.subarray(offsetBytes, offsetBytes + into.length));
    },
    extents: async (_disk, offsetBytes, lengthBytes) => [
      { offsetBytes, lengthBytes, state: "data" },
    ],
    [Symbol.asyncDispose]: async () => {},
  };
}
