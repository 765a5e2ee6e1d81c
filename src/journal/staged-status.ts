import { dirname, join } from "node:path";
import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import type { FileSystem } from "../base/file-system.ts";
import { KIB } from "../base/units.ts";
import type { PointId } from "../core/ids.ts";
import type { StagedStatus } from "../core/journal.ts";
import { diskSizeBytesMax } from "../core/limits.ts";

const id = z.string().regex(/^[0-9a-f]{16}$/);
const bytes = z.int().min(0).max(diskSizeBytesMax);
const recordSchema = z.strictObject({
  kind: z.enum(["base", "parts"]),
  disk: z.string().max(127),
  identity: id,
  sizeBytes: bytes,
  syncId: id,
  resumeAtBytes: bytes,
  writtenBelowBytes: bytes,
  adoptedBy: id.nullable(),
  overPoint: id.nullable().optional(),
});
const recordLengthBytesMax = 4 * KIB;

/** What is durable about a sync's staged files. */
export interface StagedRecord extends StagedStatus {
  /** Between `resumeAtBytes` and here a crash may have left data without its hash, or a hash without its data. */
  readonly writtenBelowBytes: number;
  /** The point that was being sealed with these parts: when the ledger knows it, they are used up. */
  readonly adoptedBy: PointId | null;
  /** The head that parts were compared with: over another they would show other bytes. Null for a base. */
  readonly overPoint?: PointId | null;
}

/** The record in `staged/<identity>.json`, or null when it is not there or not ours. */
export async function readStagedRecord(
  files: FileSystem,
  path: string,
): Promise<StagedRecord | null> {
  const content = await readSmallFile(files, path, recordLengthBytesMax);
  if (content === null) return null;
  const parsed = recordSchema.safeParse(parseJson(content));
  return parsed.success ? (parsed.data as StagedRecord) : null;
}

/** Replaces the record, durable when it resolves. */
export async function writeStagedRecord(files: FileSystem, path: string, record: StagedRecord) {
  await writeFileAtomically(files, path, Buffer.from(`${JSON.stringify(record)}\n`));
}

/** Every record in the directory of staged parts. */
export async function listStagedRecords(files: FileSystem, directory: string) {
  const names = (await files.list(directory)).filter((name) => name.endsWith(".json"));
  const records = await Promise.all(
    names.map((name) => readStagedRecord(files, join(directory, name))),
  );
  return records.filter((record) => record !== null);
}

/** Removes the record, durably. */
export async function removeStagedRecord(files: FileSystem, path: string): Promise<void> {
  await files.remove(path);
  await files.syncDirectory(dirname(path));
}

function parseJson(content: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(content).toString("utf8"));
  } catch {
    return null; // Torn or foreign: treated like a record that is not there.
  }
}
