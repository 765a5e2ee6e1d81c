import { join } from "node:path";
import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { KIB } from "../base/units.ts";
import { secureContextOf } from "./dial.ts";

const id = z.string().regex(/^[0-9a-f]{16}$/);
const address = z.strictObject({ host: z.string(), port: z.int().min(1).max(65_535) });

const identitySchema = z.strictObject({
  format: z.literal("afterimage-replicator-identity"),
  version: z.literal(1),
  /** Drawn at the first join, kept for ever: the holder of generations. */
  id,
  name: z.string(),
  vaultId: id,
  /** The one that was used last. */
  invitation: id,
  /** Where the vault answers, in the order to try. */
  addresses: z.array(address).min(1),
  privateKeyPem: z.string(),
  certificatePem: z.string(),
  authorityPem: z.string(),
});

const joiningSchema = z.strictObject({
  format: z.literal("afterimage-replicator-joining"),
  version: z.literal(1),
  id,
  invitation: id,
  privateKeyPem: z.string(),
  /** PKCS #10, base64. */
  request: z.string(),
});

/** Who a replicator is, and which vault it has joined. */
export type ReplicatorRecord = Omit<z.output<typeof identitySchema>, "format" | "version">;
/** A join that was begun: after a kill the same key asks again. */
export type JoiningRecord = Omit<z.output<typeof joiningSchema>, "format" | "version">;

const recordBytesMax = 256 * KIB;

/** The one file that says who the replicator is. */
export function identityFile(directory: string): string {
  return join(directory, "identity.json");
}

function joiningFile(directory: string): string {
  return join(directory, "joining.json");
}

/** Who the replicator of this state directory is; null when it has joined nobody. STORAGE_FAILED when the file is damaged. */
export async function readReplicatorRecord(
  files: FileSystem,
  directory: string,
): Promise<ReplicatorRecord | null> {
  const path = identityFile(directory);
  const record = await read(files, path, identitySchema);
  if (record === null) return null;
  try {
    secureContextOf(record); // Throws unless the key is the certificate's.
  } catch (error) {
    throw damaged(path, error);
  }
  const { format: _format, version: _version, ...rest } = record;
  return rest;
}

/** Replaces it, durably; key and certificate are one file, so one never stands without the other. */
export async function writeReplicatorRecord(
  files: FileSystem,
  directory: string,
  record: ReplicatorRecord,
): Promise<void> {
  const content = { format: "afterimage-replicator-identity", version: 1, ...record };
  await write(files, identityFile(directory), content);
}

/** The join that was begun and not finished, or null. */
export async function readJoiningRecord(
  files: FileSystem,
  directory: string,
): Promise<JoiningRecord | null> {
  const record = await read(files, joiningFile(directory), joiningSchema);
  if (record === null) return null;
  const { format: _format, version: _version, ...rest } = record;
  return rest;
}

/** Remembers a join before the vault is asked. */
export async function writeJoiningRecord(
  files: FileSystem,
  directory: string,
  record: JoiningRecord,
): Promise<void> {
  const content = { format: "afterimage-replicator-joining", version: 1, ...record };
  await write(files, joiningFile(directory), content);
}

/** Forgets it: the join is done. */
export async function removeJoiningRecord(files: FileSystem, directory: string): Promise<void> {
  await files.remove(joiningFile(directory));
  await files.syncDirectory(directory);
}

async function read<Schema extends z.ZodType>(
  files: FileSystem,
  path: string,
  schema: Schema,
): Promise<z.output<Schema> | null> {
  const content = await readSmallFile(files, path, recordBytesMax);
  if (content === null) return null;
  try {
    return schema.parse(JSON.parse(Buffer.from(content).toString("utf8")));
  } catch (error) {
    throw damaged(path, error);
  }
}

function damaged(path: string, cause: unknown): Fault {
  const message = `${path} does not read as it was written`;
  return new Fault("STORAGE_FAILED", message, { path, reason: "damaged" }, { cause });
}

async function write(files: FileSystem, path: string, content: unknown): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(content, null, 1)}\n`);
  await writeFileAtomically(files, path, bytes, { isPrivate: true });
}
