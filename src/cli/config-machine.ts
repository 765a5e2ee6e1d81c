import { isAbsolute } from "node:path";
import { z } from "zod";
import { MIB, TIB } from "../base/units.ts";
import { parseDiskName, parseGroupName, parseMachineName } from "../core/ids.ts";
import { hostAddress, sizeBytes } from "./config-values.ts";

const machineDisksMax = 64;
const nameRule = "1 to 63 of a-z, 0-9, '-', '_', '.', starting with a letter or digit";

/** An absolute path. */
export const pathSchema = z
  .string()
  .max(4096)
  .refine((text) => isAbsolute(text) && !text.includes("\0"), "an absolute path");

/** A name that `parse` knows. */
function nameSchema<Name extends string>(parse: (text: string) => Name | null) {
  return z.string().transform((text, context) => {
    const name = parse(text);
    if (name !== null) return name;
    context.addIssue({ code: "custom", message: nameRule });
    return z.NEVER;
  });
}

/** A group's name. */
export const groupNameSchema = nameSchema(parseGroupName).describe(
  `The group's name, unique in the vault: ${nameRule}.`,
);
const diskName = z.string().refine((text) => parseDiskName(`machine/${text}`) !== null, nameRule);

/** How deltas are stored and sent. */
export const compressionSchema = z.enum(["off", "zstd"]);

const disk = z
  .strictObject({
    name: diskName.describe(`The disk's name within its machine: ${nameRule}.`),
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
    image: pathSchema
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

const nbd = z
  .strictObject({
    address: hostAddress.describe(
      'Where QEMU listens and we connect, an address of its host that its certificate bears: "10.0.0.7:10809".',
    ),
    tls: pathSchema.describe(
      "Directory here with `ca-cert.pem`, `client-cert.pem` and `client-key.pem`, as QEMU and libnbd name them.",
    ),
    qemuTls: pathSchema
      .optional()
      .describe(
        "Directory on QEMU's host with `ca-cert.pem`, `server-cert.pem` and `server-key.pem`, which QEMU must be able to read. Default: the same path as `tls`.",
      ),
  })
  .describe(
    "For a QEMU on another host: its disks are read over NBD with TLS, both sides with certificates. `qmp` is then a socket that is forwarded here (`ssh -L /run/afterimage/db.qmp:/run/qemu/db.qmp HOST`), and `scratch.directory` one that both hosts have at the same path.",
  );

/** A machine of a group. */
export const machineSchema = z.strictObject({
  name: nameSchema(parseMachineName).describe(`The machine's name within its group: ${nameRule}.`),
  qmp: pathSchema
    .optional()
    .describe(
      "QMP unix socket that nobody else uses. Absent: the machine is off and is read from its images.",
    ),
  nbd: nbd.optional(),
  compression: compressionSchema
    .optional()
    .describe("Compression of this machine's disks. Default: the group's."),
  disks: z
    .array(disk)
    .min(1)
    .max(machineDisksMax)
    .describe("The disks to replicate; others of the machine are left alone."),
  boot: boot.optional(),
});
