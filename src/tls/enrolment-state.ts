import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../base/atomic-file.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";

const id = z.string().regex(/^[0-9a-f]{16}$/);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const instant = z.int();

const invitationSchema = z.strictObject({
  id,
  name: z.string(),
  /** SHA-256; the secret itself is nowhere at the vault. */
  secretHash: hash,
  /** May take the name from another replicator. */
  replaces: z.boolean(),
  expiresAtMs: instant,
  /** Who used it: the same key may ask again and gets the same answer. */
  used: z.strictObject({ keyHash: hash, certificatePem: z.string() }).nullable(),
});

const holderSchema = z.strictObject({
  name: z.string(),
  id,
  enrolledAtMs: instant,
  revokedAtMs: instant.nullable(),
  /** Those that are believed; any other is not, whoever signed it. */
  certificates: z.array(z.strictObject({ serialNumber: z.string(), notAfterMs: instant })),
});

const stateSchema = z.strictObject({
  format: z.literal("afterimage-enrolment"),
  version: z.literal(1),
  invitations: z.array(invitationSchema),
  holders: z.array(holderSchema),
});

/** An invitation as the vault keeps it. */
export type StoredInvitation = Readonly<z.output<typeof invitationSchema>>;
/** A replicator that is, or was, enrolled. */
export type StoredHolder = Readonly<z.output<typeof holderSchema>>;

/** Invitations, and who is enrolled: replaced as a whole. */
export interface EnrolmentState {
  readonly invitations: readonly StoredInvitation[];
  readonly holders: readonly StoredHolder[];
}

const stateBytesMax = 16 * MIB;

/** Reads the state; empty when there is none yet, STORAGE_FAILED when the file holds something else. */
export async function readEnrolmentState(files: FileSystem, path: string): Promise<EnrolmentState> {
  const content = await readSmallFile(files, path, stateBytesMax);
  if (content === null) return { invitations: [], holders: [] };
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(content).toString("utf8")));
  } catch (error) {
    const message = `${path} does not read as who is enrolled`;
    throw new Fault("STORAGE_FAILED", message, { path, reason: "damaged" }, { cause: error });
  }
}

/** Replaces the state, durably. */
export async function writeEnrolmentState(
  files: FileSystem,
  path: string,
  { invitations, holders }: EnrolmentState,
): Promise<void> {
  const state = { format: "afterimage-enrolment", version: 1, invitations, holders };
  const content = Buffer.from(`${JSON.stringify(state, null, 1)}\n`);
  await writeFileAtomically(files, path, content, { isPrivate: true });
}
