import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { DiskIdentity } from "../core/ids.ts";
import { blockSizeBytes, windowSizeBytes } from "../core/limits.ts";
import type { DeltaReader } from "../delta/reader.ts";
import { verifyDelta } from "../delta/verify.ts";
import { BaseDisk } from "./base-disk.ts";
import type { Damage } from "./damage.ts";
import { openSealed } from "./delta-files.ts";
import { blockStorePaths, type GroupLayout } from "./vault-layout.ts";
import type { ChainDelta } from "./view.ts";

/** Damages that one file may have before the rest of it is not looked at. */
const damagesPerFileMax = 1000;

export interface CheckOptions {
  readonly files: FileSystem;
  readonly layout: GroupLayout;
  readonly signal: AbortSignal;
  /** Called with the bytes just read; may take its time. */
  readonly onBytes: (lengthBytes: number) => Promise<void>;
}

/** Reads a whole disk of the base and checks every block, those without a hash for being zeroes. */
export async function checkBase(
  options: CheckOptions,
  identity: DiskIdentity,
  position: number,
): Promise<Damage[]> {
  const paths = blockStorePaths(options.layout.base, identity);
  const damages: Damage[] = [];
  const add = (fault: Fault, offsetBytes: number, endBytes: number) => {
    const run = { identity, offsetBytes, endBytes };
    damages.push({ path: paths.raw, fault, sequence: position, identities: [identity], run });
  };
  try {
    await using base = await BaseDisk.open(options.files, paths, identity, "read");
    const sizeBytes = await base.sizeBytes();
    for (let at = 0; at < sizeBytes && damages.length < damagesPerFileMax; at += windowSizeBytes) {
      options.signal.throwIfAborted();
      const blocks = Math.ceil(Math.min(windowSizeBytes, sizeBytes - at) / blockSizeBytes);
      for (const { fault, offsetBytes } of await damagedBlocks(base, at, blocks)) {
        add(fault, offsetBytes, Math.min(offsetBytes + blockSizeBytes, sizeBytes));
      }
      await options.onBytes(blocks * blockSizeBytes);
    }
  } catch (error) {
    if (!isFault(error, "STORAGE_MISSING")) throw error;
    const message = `${paths.raw}: the base of disk ${identity} is not there`;
    const fault = new Fault("BASE_CORRUPT", message, { path: paths.raw }, { cause: error });
    add(fault, 0, Number.MAX_SAFE_INTEGER);
  }
  return damages;
}

/** A window is read at once; only one that fails is gone through by the block. */
async function damagedBlocks(base: BaseDisk, offsetBytes: number, blocks: number) {
  const whole = await faultOfRead(base, offsetBytes, Buffer.allocUnsafe(blocks * blockSizeBytes));
  if (whole === null) return [];
  const found: { fault: Fault; offsetBytes: number }[] = [];
  for (let block = 0; block < blocks; block += 1) {
    const at = offsetBytes + block * blockSizeBytes;
    const fault = await faultOfRead(base, at, Buffer.allocUnsafe(blockSizeBytes));
    if (fault !== null) found.push({ fault, offsetBytes: at });
  }
  return found;
}

async function faultOfRead(base: BaseDisk, offsetBytes: number, into: Buffer) {
  try {
    await base.read(offsetBytes, into);
    return null;
  } catch (error) {
    if (isFault(error, "BASE_CORRUPT", "STORAGE_FAILED")) return error;
    throw error;
  }
}

/** Reads a whole delta: header, index, trailer and every chunk, against its own hashes and the ledger's content root. */
export async function checkDelta(options: CheckOptions, file: ChainDelta): Promise<Damage[]> {
  const { path, delta } = file;
  const { sequence } = delta;
  const identities = delta.disks.map((disk) => disk.identity);
  const at = { path, sequence, identities };
  try {
    await using reader = await openSealed(options.files, file);
    const paces: Promise<void>[] = [];
    const { faults } = await verifyDelta(reader, {
      signal: options.signal,
      onChunk: (storedBytes) => paces.push(options.onBytes(storedBytes)),
    });
    await Promise.all(paces);
    return faults.map((fault) => ({ ...at, fault, run: runOf(reader, file, fault) }));
  } catch (error) {
    if (!isFault(error, "DELTA_CORRUPT", "DELTA_MISSING", "DELTA_VERSION", "STORAGE_FAILED")) {
      throw error;
    }
    return [{ ...at, fault: error, run: null }];
  }
}

function runOf(reader: DeltaReader, file: ChainDelta, fault: Fault): Damage["run"] {
  const { entry } = fault.details;
  if (typeof entry !== "number") return null;
  const disk = file.delta.disks[reader.index.disk(entry)];
  if (disk === undefined) return null;
  const offsetBytes = reader.index.offsetBytes(entry);
  return { identity: disk.identity, offsetBytes, endBytes: reader.index.endBytes(entry) };
}
