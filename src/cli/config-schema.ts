import { isAbsolute } from "node:path";
import { z } from "zod";
import { GIB, MIB, TIB } from "../base/units.ts";
import { parseDiskName, parseGroupName, parseMachineName } from "../core/ids.ts";
import { groupMachinesMax } from "../core/limits.ts";
import { durationSeconds, sizeBytes } from "./config-values.ts";

const yearSeconds = 366 * 86_400;
const groupsMax = 64;
const machineDisksMax = 64;

const path = z
  .string()
  .max(4096)
  .refine((text) => isAbsolute(text) && !text.includes("\0"), "an absolute path");

const names = "1 to 63 of a-z, 0-9, '-', '_', '.', starting with a letter or digit";
const groupName = z.string().transform((text, context) => {
  const name = parseGroupName(text);
  if (name !== null) return name;
  context.addIssue({ code: "custom", message: names });
  return z.NEVER;
});
const machineName = z.string().transform((text, context) => {
  const name = parseMachineName(text);
  if (name !== null) return name;
  context.addIssue({ code: "custom", message: names });
  return z.NEVER;
});
const diskName = z.string().refine((text) => parseDiskName(`machine/${text}`) !== null, names);
const interval = durationSeconds({ min: 0.1, max: yearSeconds });

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
  .describe("How long points stay.");

const disk = z
  .strictObject({
    name: diskName.describe(`The disk's name within its machine: ${names}.`),
    node: z
      .string()
      .min(1)
      .max(31)
      .optional()
      .describe("Node name of the disk's format layer in QEMU (`query-named-block-nodes`)."),
    device: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe("Instead of `node`: id or object path of the guest's device."),
    drive: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe("Instead of `node`: id of QEMU's `-drive`."),
    image: path
      .optional()
      .describe(
        "The disk's image file. Lets a point be taken while the machine is off, and finds the disk when nothing else is given.",
      ),
    tracking: z
      .enum(["persistent", "transient"])
      .default("persistent")
      .describe(
        "`persistent`: a bitmap in the qcow2 image outlives QEMU. `transient`: for raw images; recording ends with QEMU and the disk is then resynced by hash.",
      ),
  })
  .refine(
    ({ node, device, drive, image }) => [node, device, drive, image].some((by) => by !== undefined),
    "a disk needs one of `node`, `device`, `drive`, `image`",
  );

const boot = z
  .strictObject({
    machineType: z
      .string()
      .max(63)
      .exactOptional()
      .describe("QEMU machine type, for example `q35`."),
    cpuCount: z.int().min(1).max(288).exactOptional().describe("Processors."),
    memoryBytes: sizeBytes({ min: 64 * MIB, max: 16 * TIB })
      .exactOptional()
      .describe("Memory."),
  })
  .describe(
    "How the machine is started from a point, where that differs from what QEMU tells of it.",
  );

const machine = z.strictObject({
  name: machineName.describe(`The machine's name within its group: ${names}.`),
  qmp: path
    .optional()
    .describe(
      "QMP unix socket that nobody else uses. Absent: the machine is off and is read from its images.",
    ),
  disks: z
    .array(disk)
    .min(1)
    .max(machineDisksMax)
    .describe("The disks to replicate; others of the machine are left alone."),
  boot: boot.optional(),
});

const group = z.strictObject({
  name: groupName.describe(`The group's name, unique in the vault: ${names}.`),
  intervalSeconds: interval
    .optional()
    .describe(
      "Time from the start of one cycle to the start of the next. Default: the one at the top.",
    ),
  retention: retention.optional().describe("Retention of this group. Default: the one at the top."),
  machines: z
    .array(machine)
    .min(1)
    .max(groupMachinesMax)
    .describe("Machines whose disks are taken at one instant."),
});

/** The file that `afterimage run` takes. Keys carry their unit; a string may carry another. Unknown keys are refused. */
export const configSchema = z.strictObject({
  vault: path.describe("The vault's directory, made by `afterimage vault init`."),
  intervalSeconds: interval
    .default(10)
    .describe("Time from the start of one cycle to the start of the next."),
  scratch: z
    .strictObject({
      directory: path.describe(
        "Where QEMU keeps old content of what the guest overwrites while a point is read. Local and fast; QEMU must be able to write there.",
      ),
      capBytes: sizeBytes({ min: MIB, max: 64 * TIB })
        .default(4 * GIB)
        .describe(
          "Room for the disks of one group together, reserved before each cycle. When it runs out the point is given up, never the guest.",
        ),
    })
    .describe("Scratch on the protected host."),
  compression: z
    .enum(["off", "zstd"])
    .default("off")
    .describe(
      "`zstd`: deltas are stored compressed where that saves room. Costs processor time in each cycle; may be changed at any time.",
    ),
  retention: retention.default({ pointsMax: null, ageSeconds: null }),
  groups: z.array(group).min(1).max(groupsMax).describe("What is replicated."),
});

/** The configuration as the rest sees it. */
export type Config = z.output<typeof configSchema>;
/** One group of the configuration. */
export type ConfigGroup = Config["groups"][number];
/** One machine of a group. */
export type ConfigMachine = ConfigGroup["machines"][number];
/** One disk of a machine. */
export type ConfigDisk = ConfigMachine["disks"][number];
