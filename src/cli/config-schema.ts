import { z } from "zod";
import { GIB, MIB, TIB } from "../base/units.ts";
import { groupMachinesMax } from "../core/limits.ts";
import { compressionSchema, groupNameSchema, machineSchema, pathSchema } from "./config-machine.ts";
import {
  groupLinkSchema,
  linkSchema,
  metricsSchema,
  productionSchema,
  spoolSchema,
  syncSchema,
} from "./config-sites.ts";
import { durationSeconds, sizeBytes } from "./config-values.ts";

const yearSeconds = 366 * 86_400;
const groupsMax = 64;

/** Neither interval nor target given: this. */
const intervalDefaultSeconds = 10;
const targetIntervalMinSeconds = 1;
const targetIntervalMaxSeconds = 300;

const interval = durationSeconds({ min: 0.1, max: yearSeconds });
const target = durationSeconds({ min: 1, max: yearSeconds });

const retention = z
  .strictObject({
    pointsMax: z
      .int()
      .min(1)
      .max(100_000)
      .nullable()
      .default(null)
      .describe("At most this many points stay. Null does not limit."),
    ageSeconds: durationSeconds({ min: 1, max: 100 * yearSeconds })
      .nullable()
      .default(null)
      .describe("Points sealed longer ago go. Null does not limit. The newest point always stays."),
  })
  .describe("How long points stay. One process only: at two sites the vault decides.");

const group = z.strictObject({
  name: groupNameSchema,
  intervalSeconds: interval
    .optional()
    .describe(
      "Time from the start of one cycle to the start of the next. Default: what the top says.",
    ),
  targetRpoSeconds: target
    .optional()
    .describe("Instead of `intervalSeconds`, for this group. Default: what the top says."),
  intervalMinSeconds: interval.optional().describe("Default: the one at the top."),
  intervalMaxSeconds: interval.optional().describe("Default: the one at the top."),
  compression: compressionSchema
    .optional()
    .describe("Compression of this group. Default: the one at the top."),
  link: groupLinkSchema.optional(),
  onStale: z
    .enum(["alarm", "pause"])
    .default("alarm")
    .describe(
      "When another replicator holds a later generation of the group: `alarm` says so, `pause` pauses the machines too. Two sites only.",
    ),
  retention: retention.optional().describe("Retention of this group. Default: the one at the top."),
  machines: z
    .array(machineSchema)
    .min(1)
    .max(groupMachinesMax)
    .describe("Machines whose disks are taken at one instant."),
});

const fields = z.strictObject({
  vault: pathSchema
    .optional()
    .describe(
      "One process (`afterimage up`): the vault's directory, made by `afterimage vault init`. Either this or `state`.",
    ),
  state: pathSchema
    .optional()
    .describe(
      "Two sites (`afterimage replicator serve`): this replicator's directory, made by `afterimage replicator join`. Either this or `vault`.",
    ),
  intervalSeconds: interval
    .optional()
    .describe(
      `Time from the start of one cycle to the start of the next. Default \`${intervalDefaultSeconds}\`, unless \`targetRpoSeconds\` is given.`,
    ),
  targetRpoSeconds: target
    .optional()
    .describe(
      "Instead of `intervalSeconds`: how old the newest point may get. The interval follows what changes, what the link carries and what a cycle costs.",
    ),
  intervalMinSeconds: interval
    .default(targetIntervalMinSeconds)
    .describe("With `targetRpoSeconds`: no shorter interval is chosen."),
  intervalMaxSeconds: interval
    .default(targetIntervalMaxSeconds)
    .describe("With `targetRpoSeconds`: no longer interval is chosen, nor one above the target."),
  scratch: z
    .strictObject({
      directory: pathSchema.describe(
        "Where QEMU keeps old content of what the guest overwrites while a point is read. Local and fast; QEMU must be able to write there.",
      ),
      capBytes: sizeBytes({ min: MIB, max: 64 * TIB })
        .default(4 * GIB)
        .describe(
          "Room for the disks of one group together, reserved before each cycle. When it runs out the point is given up, never the guest.",
        ),
    })
    .describe("Scratch on the protected host."),
  spool: spoolSchema.prefault({}),
  link: linkSchema.prefault({}),
  production: productionSchema.prefault({}),
  sync: syncSchema.prefault({}),
  compression: compressionSchema
    .default("off")
    .describe(
      "`zstd`: deltas are sent and stored compressed where that saves room. Costs processor time in each cycle; may be changed at any time.",
    ),
  metrics: metricsSchema.optional(),
  retention: retention.default({ pointsMax: null, ageSeconds: null }),
  groups: z.array(group).min(1).max(groupsMax).describe("What is replicated."),
});

/**
 * The file that `afterimage up` and `afterimage replicator serve` take. Keys carry their unit; a string may carry another.
 * Unknown keys are refused.
 */
export const configSchema = fields.transform((config) =>
  config.intervalSeconds === undefined && config.targetRpoSeconds === undefined
    ? { ...config, intervalSeconds: intervalDefaultSeconds }
    : config,
);

/** The configuration as the rest sees it. */
export type Config = z.output<typeof configSchema>;
/** One group of the configuration. */
export type ConfigGroup = Config["groups"][number];
/** One machine of a group. */
export type ConfigMachine = ConfigGroup["machines"][number];
/** One disk of a machine. */
export type ConfigDisk = ConfigMachine["disks"][number];
