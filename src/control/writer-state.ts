import { z } from "zod";
import { alarmSchema, groupTelemetrySchema, linkStateSchema } from "./telemetry.ts";
import { custodySchema, vaultStateSchema } from "./vault-state.ts";

/** What a running writer says of itself, for `afterimage status`. */
export const writerStateSchema = z.strictObject({
  pid: z.int().positive(),
  startedAtMs: z.int(),
  /** Not given: `up`. */
  role: z.enum(["up", "replicator", "vault"]).optional(),
  /** Of a replicator. */
  link: linkStateSchema.optional(),
  /** Of a vault that serves. */
  vault: vaultStateSchema.optional(),
  alarms: z.array(alarmSchema).optional(),
  groups: z.array(
    z.strictObject({
      name: z.string(),
      state: z.string(),
      /** Why the group is not well, with what to do; null when it is. */
      trouble: z.string().nullable(),
      telemetry: groupTelemetrySchema.optional(),
      /** Of a vault that serves. */
      custody: custodySchema.optional(),
    }),
  ),
});

/** The state of a running writer. */
export type WriterState = z.output<typeof writerStateSchema>;
