import { hash } from "node:crypto";
import { z } from "zod";
import { readSmallFile, writeFileAtomically } from "../../base/atomic-file.ts";
import { Fault, isFault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { formatBytes, MIB } from "../../base/units.ts";
import { groupDisksMax } from "../../core/limits.ts";
import type { Point } from "../../core/point.ts";
import type { SpoolState } from "./spool-state.ts";

/** A hundred thousand points fit. */
const stateLengthBytesMax = 64 * MIB;
const magic = "afterimage-spool 1";

const id = z.string().regex(/^[0-9a-f]{16}$/);
const root = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().max(127);
const count = z.int().min(0);
const wallMs = z.number();
const clock = z.strictObject({ offsetMs: z.number(), errorMs: z.number() }).nullable();
const generation = z.strictObject({ number: z.int().min(1), holder: z.string().max(64) });
const stageRequest = z.strictObject({
  kind: z.enum(["base", "parts"]),
  disk: name,
  identity: id,
  sizeBytes: count,
  syncId: id,
});
/** The parts that are relied on; the rest is for people and passes through. */
const point = z.looseObject({
  id,
  generation,
  sequence: count,
  instant: z.looseObject({ lowerMs: wallMs, upperMs: wallMs }),
  disks: z
    .array(
      z.strictObject({
        name,
        identity: id,
        sizeBytes: count,
        previousSizeBytes: count.nullable(),
      }),
    )
    .max(groupDisksMax),
  contentRoot: root,
});
const stateSchema = z.strictObject({
  isVaultKnown: z.boolean(),
  vaultHead: point.nullable(),
  generation: generation.nullable(),
  staged: z.array(stageRequest.extend({ resumeAtBytes: count })),
  owed: z
    .strictObject({ since: id, witness: id, smallestSizeBytes: z.array(z.tuple([name, count])) })
    .nullable(),
  unanswered: point.nullable(),
  dropped: z.array(z.strictObject({ id, sequence: count })).default([]),
  points: z.array(
    z.strictObject({
      id,
      sequence: count,
      fromPoint: id.nullable(),
      takenAtMs: wallMs,
      generationNumber: z.int().min(1),
      contentRoot: root,
      sizeBytes: count,
      dirtyBytes: count,
      readBytes: count,
      clock,
      adopted: z.array(stageRequest),
      isRebased: z.boolean(),
    }),
  ),
});

/** The state in the file at `path`: null when there is none, `damaged` when it does not read back as it was written. */
export async function readSpoolState(
  files: FileSystem,
  path: string,
): Promise<SpoolState | "damaged" | null> {
  let content: Uint8Array | null;
  try {
    content = await readSmallFile(files, path, stateLengthBytesMax);
  } catch (error) {
    if (error instanceof RangeError || isFault(error, "STORAGE_FAILED")) return "damaged";
    throw error;
  }
  if (content === null) return null;
  return decodeSpoolState(Buffer.from(content).toString("utf8")) ?? "damaged";
}

/** Replaces the file, durable when it resolves. SPOOL_FULL, and it is as before, when nobody could read it. */
export async function writeSpoolState(
  files: FileSystem,
  path: string,
  state: SpoolState,
  lengthBytesMax: number = stateLengthBytesMax,
): Promise<void> {
  const content = Buffer.from(encodeSpoolState(state));
  if (content.length > lengthBytesMax) {
    const message = `${path} would take ${formatBytes(content.length)} for ${state.points.length} points that wait, at most ${formatBytes(lengthBytesMax)}`;
    throw new Fault("SPOOL_FULL", message, { lengthBytes: content.length, lengthBytesMax });
  }
  await writeFileAtomically(files, path, content);
}

/** One line with a checksum, one with the state. */
export function encodeSpoolState(state: SpoolState): string {
  const { owed } = state;
  const body = JSON.stringify({
    ...state,
    vaultHead: withoutMachines(state.vaultHead),
    unanswered: withoutMachines(state.unanswered),
    owed: owed === null ? null : { ...owed, smallestSizeBytes: [...owed.smallestSizeBytes] },
  });
  return `${magic} ${hash("sha256", body)}\n${body}\n`;
}

/** The state, or null when it is damaged. */
export function decodeSpoolState(text: string): SpoolState | null {
  const [first, body, rest] = text.split("\n");
  if (first === undefined || body === undefined || rest !== "") return null;
  if (first !== `${magic} ${hash("sha256", body)}`) return null;
  const parsed = stateSchema.safeParse(JSON.parse(body));
  if (!parsed.success) return null;
  const { owed } = parsed.data;
  const state: unknown = {
    ...parsed.data,
    owed: owed === null ? null : { ...owed, smallestSizeBytes: new Map(owed.smallestSizeBytes) },
  };
  // Checked against the same patterns that the brands stand for.
  return state as SpoolState;
}

/** Descriptions of machines are large, and nobody asks a replicator for those of an old point. */
function withoutMachines(described: Point | null): Point | null {
  return described === null ? null : { ...described, machines: [] };
}
