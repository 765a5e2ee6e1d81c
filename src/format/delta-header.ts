import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { decodeCanonicalJson, encodeCanonicalJson } from "./canonical-json.ts";
import { deltaCorrupt } from "./delta-corrupt.ts";
import {
  definitionLengthBytesMax,
  diskSizeBytesMax,
  disksMax,
  headerLengthBytesMax,
  machinesMax,
  notesMax,
  sectorSizeBytes,
  sentenceLengthMax,
} from "./delta-limits.ts";

const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i);
const diskName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}\/[a-z0-9][a-z0-9._-]{0,62}$/i);
const id = z.string().regex(/^[0-9a-f]{16}$/);
const count = z.int().min(0);
const sentence = z.string().max(sentenceLengthMax);
const level = z.enum(["crash", "filesystem", "application"]);
const diskSize = z.int().min(sectorSizeBytes).max(diskSizeBytesMax).multipleOf(sectorSizeBytes);

const disk = z.strictObject({
  name: diskName,
  identity: id,
  sizeBytes: diskSize,
  previousSizeBytes: diskSize.nullable(),
});
const machine = z.strictObject({
  name,
  platform: z.string().min(1).max(63),
  definition: z.record(z.string(), z.unknown()),
});

/** What a header says about its point, without the machines: a ledger record repeats it. */
export const pointFactsSchema = z
  .strictObject({
    id,
    group: name,
    generation: z.strictObject({ number: count, holder: id }),
    sequence: z.int().min(1),
    fromSequence: count,
    fromPoint: id.nullable(),
    instant: z.strictObject({
      lowerMs: z.int(),
      upperMs: z.int(),
      clockErrorMs: count.nullable(),
    }),
    consistency: z.strictObject({
      asked: level,
      reached: level,
      reason: sentence,
      isGroupConsistent: z.boolean(),
      skewMs: count.nullable(),
    }),
    disks: z.array(disk).max(disksMax),
    notes: z.array(sentence).max(notesMax),
  })
  .refine((facts) => facts.fromSequence < facts.sequence, "the from-point is not before the point")
  .refine(
    (facts) => (facts.fromPoint === null) === (facts.fromSequence === 0),
    "from-point and its sequence contradict each other",
  )
  .refine((facts) => isUnique(facts.disks.map((at) => at.identity)), "one disk stands twice");

const machinesSchema = z
  .array(machine)
  .max(machinesMax)
  .refine((machines) => isUnique(machines.map((at) => at.name)), "one machine stands twice");

/** A header without its machines, as parsed. */
export type PointFacts = z.infer<typeof pointFactsSchema>;
type Machine = z.infer<typeof machine>;

/** A delta's header; the product's `PointHeader` without its brands. */
export interface DeltaHeader extends Readonly<Omit<PointFacts, "disks" | "notes">> {
  readonly disks: readonly Readonly<PointFacts["disks"][number]>[];
  readonly notes: readonly string[];
  readonly machines: readonly Readonly<Machine>[];
}

/** The header as canonical JSON. A header that no reader would take is CONFIG_INVALID and says what is wrong. */
export function encodeHeader(header: DeltaHeader): Buffer {
  const { machines, ...facts } = header;
  const problem = problemOf(facts, machines);
  if (problem !== null) throw new Fault("CONFIG_INVALID", `the point's header: ${problem}`);
  const bytes = encodeCanonicalJson({ ...facts, machines });
  if (bytes.length <= headerLengthBytesMax) return bytes;
  const message = `the point's header has ${bytes.length} bytes, more than ${headerLengthBytesMax}`;
  throw new Fault("CONFIG_INVALID", message, { lengthBytes: bytes.length });
}

/** Reads a header of at most 4 MiB; DELTA_CORRUPT when it is not canonical, or says what cannot be. */
export function decodeHeader(bytes: Uint8Array): DeltaHeader {
  if (bytes.length > headerLengthBytesMax) throw deltaCorrupt("header", "it is too long");
  const decoded = decodeCanonicalJson(bytes);
  if (decoded === null) throw deltaCorrupt("header", "it is no canonical JSON");
  if (
    typeof decoded.value !== "object" ||
    decoded.value === null ||
    !("machines" in decoded.value)
  ) {
    throw deltaCorrupt("header", "it is no header");
  }
  const { machines, ...facts } = decoded.value;
  const problem = problemOf(facts, machines);
  if (problem !== null) throw deltaCorrupt("header", problem);
  return decoded.value as DeltaHeader;
}

/** How far extents may reach on each disk: its larger size, so that a cut tail can be sealed as zeroes. */
export function diskReachBytesOf(header: Pick<DeltaHeader, "disks">): readonly number[] {
  return header.disks.map((at) => Math.max(at.sizeBytes, at.previousSizeBytes ?? 0));
}

function problemOf(facts: unknown, machines: unknown): string | null {
  const result = pointFactsSchema.safeParse(facts);
  if (!result.success) return issueOf(result.error);
  const parsed = machinesSchema.safeParse(machines);
  if (!parsed.success) return issueOf(parsed.error);
  for (const { name: machineName, definition } of parsed.data) {
    const lengthBytes = encodeCanonicalJson(definition).length;
    if (lengthBytes > definitionLengthBytesMax) {
      return `the definition of ${machineName} has ${lengthBytes} bytes`;
    }
  }
  return null;
}

function issueOf(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? "invalid" : `${issue.path.join(".")}: ${issue.message}`;
}

function isUnique(values: readonly string[]): boolean {
  return new Set(values).size === values.length;
}
