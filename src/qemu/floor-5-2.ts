import { z } from "zod";
import type { QmpCommand } from "./qmp-messages.ts";

// The product's floor is QEMU 5.2. This is what it documents of the commands that we use, in the argument forms that we
// use: the tags v5.2.0 of qapi/block-core.json, block-export.json, control.json, introspect.json, job.json, machine.json,
// misc.json, qom.json, run-state.json and transaction.json. Where 5.2 takes less than later ones, a comment says so.

const nothing = z.strictObject({});
const bitmapOf = { node: z.string(), name: z.string() };

const fileNode = z.strictObject({
  driver: z.literal("file"),
  "node-name": z.string().optional(),
  filename: z.string(),
  discard: z.enum(["ignore", "unmap"]).optional(),
  cache: z
    .strictObject({ direct: z.boolean().optional(), "no-flush": z.boolean().optional() })
    .optional(),
});
const formatNode = {
  "node-name": z.string().optional(),
  discard: z.enum(["ignore", "unmap"]).optional(),
  "read-only": z.boolean().optional(),
  cache: z
    .strictObject({ direct: z.boolean().optional(), "no-flush": z.boolean().optional() })
    .optional(),
  file: z.union([z.string(), fileNode]),
};

const backup = z.strictObject({
  "job-id": z.string(),
  device: z.string(),
  target: z.string(),
  sync: z.literal("none"),
  // Since 4.2. `x-perf`, `on-cbw-error`, `cbw-timeout` and `discard-source` are newer than 5.2.
  "filter-node-name": z.string(),
});
const action = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("block-dirty-bitmap-add"),
    data: z.strictObject({
      ...bitmapOf,
      granularity: z.int().optional(),
      persistent: z.boolean().optional(),
      disabled: z.boolean().optional(),
    }),
  }),
  z.strictObject({
    type: z.literal("block-dirty-bitmap-merge"),
    data: z.strictObject({
      node: z.string(),
      target: z.string(),
      bitmaps: z.array(z.union([z.string(), z.strictObject(bitmapOf)])),
    }),
  }),
  z.strictObject({ type: z.literal("block-dirty-bitmap-remove"), data: z.strictObject(bitmapOf) }),
  z.strictObject({ type: z.literal("block-dirty-bitmap-clear"), data: z.strictObject(bitmapOf) }),
  z.strictObject({ type: z.literal("blockdev-backup"), data: backup }),
]);

const argumentsOf: Readonly<Record<string, z.ZodType>> = {
  qmp_capabilities: nothing,
  "query-version": nothing,
  "query-commands": nothing,
  "query-qmp-schema": nothing,
  "query-named-block-nodes": z.strictObject({ flat: z.boolean().optional() }),
  "query-block": nothing,
  "query-blockstats": z.strictObject({ "query-nodes": z.boolean().optional() }),
  "query-block-exports": nothing,
  "query-jobs": nothing,
  "query-status": nothing,
  "query-memory-size-summary": nothing,
  "query-cpus-fast": nothing,
  "query-iothreads": nothing,
  "qom-get": z.strictObject({ path: z.string(), property: z.string() }),
  "blockdev-add": z.discriminatedUnion("driver", [
    z.strictObject({
      driver: z.literal("qcow2"),
      ...formatNode,
      backing: z.string().nullable().optional(),
    }),
    z.strictObject({ driver: z.literal("raw"), ...formatNode }),
    fileNode,
  ]),
  "blockdev-del": z.strictObject({ "node-name": z.string() }),
  "block-set-write-threshold": z.strictObject({
    "node-name": z.string(),
    "write-threshold": z.int(),
  }),
  transaction: z.strictObject({ actions: z.array(action) }),
  "block-dirty-bitmap-remove": z.strictObject(bitmapOf),
  "block-job-cancel": z.strictObject({ device: z.string(), force: z.boolean().optional() }),
  "nbd-server-start": z.strictObject({
    addr: z.discriminatedUnion("type", [
      z.strictObject({ type: z.literal("unix"), data: z.strictObject({ path: z.string() }) }),
      z.strictObject({
        type: z.literal("inet"),
        data: z.strictObject({ host: z.string(), port: z.string() }),
      }),
    ]),
    "tls-creds": z.string().optional(),
    "max-connections": z.int().optional(),
  }),
  "nbd-server-stop": nothing,
  // Without `props`, which was deprecated in 5.0.
  "object-add": z.strictObject({
    "qom-type": z.literal("tls-creds-x509"),
    id: z.string(),
    endpoint: z.literal("server"),
    dir: z.string(),
    "verify-peer": z.boolean(),
  }),
  "object-del": z.strictObject({ id: z.string() }),
  "qom-list": z.strictObject({ path: z.string() }),
  "block-export-add": z.strictObject({
    type: z.literal("nbd"),
    id: z.string(),
    "node-name": z.string(),
    name: z.string().optional(),
    writable: z.boolean().optional(),
    // Plain strings only: the form with node and name came with 7.1.
    bitmaps: z.array(z.string()).optional(),
  }),
  "block-export-del": z.strictObject({ id: z.string(), mode: z.enum(["safe", "hard"]).optional() }),
  stop: nothing,
  cont: nothing,
  quit: nothing,
};

/** Names of the commands on the list, sorted. */
export const floorCommands: readonly string[] = Object.keys(argumentsOf).sort();

/** Why QEMU 5.2 might not understand the command, or null when its documentation has it in this form. */
export function beyondFloor(command: QmpCommand): string | null {
  const schema = argumentsOf[command.execute];
  if (!schema) return `${command.execute} is not on the list of what QEMU 5.2 documents`;
  const parsed = schema.safeParse(command.arguments);
  if (parsed.success) return null;
  const [issue] = parsed.error.issues;
  return `${command.execute}: ${issue?.path.join(".")} ${issue?.message}`;
}
