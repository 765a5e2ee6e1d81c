import { z } from "zod";
import { Fault } from "../base/fault.ts";

/** A dirty bitmap as `query-named-block-nodes` tells it. */
export interface DirtyBitmap {
  readonly name: string;
  readonly isRecording: boolean;
  readonly isPersistent: boolean;
  readonly isInconsistent: boolean;
  /** In use by an export or a job: it cannot be removed now. */
  readonly isBusy: boolean;
  readonly granularityBytes: number;
  readonly dirtyBytes: number;
}

/** A node of the block graph. */
export interface BlockGraphNode {
  readonly name: string;
  /** The block driver: "qcow2", "raw", "file", "copy-before-write", … */
  readonly driver: string;
  readonly sizeBytes: number;
  /** The file it shows, or a description in QEMU's own JSON. */
  readonly filename: string;
  readonly isReadOnly: boolean;
  /** Nameless bitmaps (a running job has one) are left out. */
  readonly bitmaps: readonly DirtyBitmap[];
}

/** A guest's drive. */
export interface GuestDrive {
  /** Of `-drive id=…`; empty when made with `-blockdev`. */
  readonly drive: string;
  /** Id or object path of the guest's device; empty when none is attached. */
  readonly device: string;
  /** The node at the top of the drive, or null when it is empty. */
  readonly node: string | null;
}

const size = z.int().nonnegative();
const bitmapSchema = z.object({
  name: z.string().optional(),
  recording: z.boolean(),
  persistent: z.boolean(),
  inconsistent: z.boolean().optional(),
  busy: z.boolean(),
  granularity: size,
  count: size,
});
const nodesSchema = z.array(
  z.object({
    "node-name": z.string(),
    drv: z.string(),
    ro: z.boolean(),
    image: z.object({ filename: z.string(), "virtual-size": size }),
    "dirty-bitmaps": z.array(bitmapSchema).optional(),
  }),
);
const drivesSchema = z.array(
  z.object({
    device: z.string(),
    qdev: z.string().optional(),
    inserted: z.object({ "node-name": z.string().optional() }).optional(),
  }),
);
// Nanoseconds of a busy guest pass 2^53 after a hundred days of writing; the last digits do not matter then.
const counter = z.number().nonnegative();
const blockStatsSchema = z.array(
  z.object({
    qdev: z.string().optional(),
    "node-name": z.string().optional(),
    stats: z.object({ wr_operations: counter, wr_bytes: counter, wr_total_time_ns: counter }),
  }),
);

/** Reads the answer to `query-named-block-nodes`. QMP_PROTOCOL when it is not one. */
export function parseNodes(answer: unknown): readonly BlockGraphNode[] {
  return parsed(nodesSchema, answer, "query-named-block-nodes").map((node) => ({
    name: node["node-name"],
    driver: node.drv,
    sizeBytes: node.image["virtual-size"],
    filename: node.image.filename,
    isReadOnly: node.ro,
    bitmaps: (node["dirty-bitmaps"] ?? []).flatMap((bitmap) =>
      bitmap.name ? [readBitmap(bitmap, bitmap.name)] : [],
    ),
  }));
}

function readBitmap(bitmap: z.infer<typeof bitmapSchema>, name: string): DirtyBitmap {
  return {
    name,
    isRecording: bitmap.recording,
    isPersistent: bitmap.persistent,
    isInconsistent: bitmap.inconsistent ?? false,
    isBusy: bitmap.busy,
    granularityBytes: bitmap.granularity,
    dirtyBytes: bitmap.count,
  };
}

/** Reads the answer to `query-block`. QMP_PROTOCOL when it is not one. */
export function parseDrives(answer: unknown): readonly GuestDrive[] {
  return parsed(drivesSchema, answer, "query-block").map((drive) => ({
    drive: drive.device,
    device: drive.qdev ?? "",
    node: drive.inserted?.["node-name"] ?? null,
  }));
}

/**
 * Reads the nodes at the tops of drives from the answer to `query-block`, which tells their bitmaps as well: one question for
 * what is written to and what it recorded. QMP_PROTOCOL when it is not one.
 */
export function parseTopNodes(answer: unknown): readonly BlockGraphNode[] {
  const filled = z.array(z.object({ inserted: z.unknown() }));
  const drives = parsed(filled, answer, "query-block");
  return parseNodes(drives.flatMap(({ inserted }) => (inserted === undefined ? [] : [inserted])));
}

/** What one device's guest has written since it started. */
export interface DeviceWrites {
  /** Id or object path of the guest's device; empty when none is attached. */
  readonly device: string;
  /** The node at the top; empty when there is none. */
  readonly node: string;
  readonly operations: number;
  readonly bytes: number;
  readonly totalTimeNs: number;
}

/** Reads the answer to `query-blockstats`. QMP_PROTOCOL when it is not one. */
export function parseBlockStats(answer: unknown): readonly DeviceWrites[] {
  return parsed(blockStatsSchema, answer, "query-blockstats").map((entry) => ({
    device: entry.qdev ?? "",
    node: entry["node-name"] ?? "",
    operations: entry.stats.wr_operations,
    bytes: entry.stats.wr_bytes,
    totalTimeNs: entry.stats.wr_total_time_ns,
  }));
}

/** The ids in the answer to `query-block-exports` or `query-jobs`. QMP_PROTOCOL when it is neither. */
export function parseIds(answer: unknown): readonly string[] {
  return parsed(z.array(z.object({ id: z.string() })), answer, "a list of ids").map(({ id }) => id);
}

function parsed<Value>(schema: z.ZodType<Value>, answer: unknown, what: string): Value {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  const message = `the answer to ${what} is not what QEMU documents`;
  throw new Fault("QMP_PROTOCOL", message, {}, { cause: result.error });
}
