import { z } from "zod";

/** What a running writer says of itself, for `afterimage status`. */
export const writerStateSchema = z.strictObject({
  pid: z.int().positive(),
  startedAtMs: z.int(),
  groups: z.array(
    z.strictObject({
      name: z.string(),
      state: z.string(),
      /** Why the group is not well, with what to do; null when it is. */
      trouble: z.string().nullable(),
    }),
  ),
});

/** The state of a running writer. */
export type WriterState = z.output<typeof writerStateSchema>;
