import { z } from "zod";
import { parseSiteAddress } from "../tls/token.ts";
import { groupNameSchema } from "./config-machine.ts";
import { metricsSchema } from "./config-sites.ts";
import { durationSeconds, type ListenAddress } from "./config-values.ts";

const yearSeconds = 366 * 86_400;
/** Groups that a vault may be configured for, and take. */
const groupsCountMax = 4096;

/** Where to listen: "192.0.2.7:7420"; port 0 is any free one. Null when it is no address. */
export function parseListenAddress(text: string): ListenAddress | null {
  if (!text.endsWith(":0")) return parseSiteAddress(text);
  const address = parseSiteAddress(`${text.slice(0, -1)}1`);
  return address === null ? null : { ...address, port: 0 };
}

/** A host and a port; where 0 may be asked for it stands for any free port. */
function siteAddress(portMin: 0 | 1) {
  return z.string().transform((text, context): ListenAddress => {
    const address = portMin === 0 ? parseListenAddress(text) : parseSiteAddress(text);
    if (address !== null) return address;
    const message = `"${text}" is no address, such as "192.0.2.7:7420", "vault.example:7420", "[2001:db8::1]:7420"`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
}

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

const silentAfter = durationSeconds({ min: 5, max: yearSeconds });

const group = z.strictObject({
  name: groupNameSchema.describe("A group, as its replicator names it."),
  retention: retention.optional().describe("Retention of this group. Default: the one at the top."),
  silentAfterSeconds: silentAfter
    .nullable()
    .optional()
    .describe("The dead man's alarm of this group. Default: the one at the top."),
  alarmWhenSilent: z
    .boolean()
    .default(true)
    .describe("False: nothing is expected to come for this group, and its silence is no alarm."),
});

/** The file that `afterimage vault serve --config` takes. Everything has a default. */
export const vaultConfigSchema = z.strictObject({
  listen: siteAddress(0)
    .default({ host: "127.0.0.1", port: 7420 })
    .describe(
      'Where replicators connect: "0.0.0.0:7420" is every IPv4 address of this host, "[::]:7420" every address. Who may connect is decided by certificates alone. Default: "127.0.0.1:7420".',
    ),
  advertise: z
    .array(siteAddress(1))
    .max(8)
    .default([])
    .describe(
      "Under which addresses replicators reach this vault; they stand in invitations and in the vault's certificate. Default: where it listens.",
    ),
  metrics: metricsSchema.optional(),
  retention: retention.default({ pointsMax: null, ageSeconds: null }),
  silentAfterSeconds: silentAfter
    .nullable()
    .default(null)
    .describe(
      "The dead man's alarm: a group of which no point, no confirmation that nothing changed, and no part of a sync came for so long. Null: three times what usually lies between them, at least a minute.",
    ),
  clockOffsetMaxSeconds: durationSeconds({ min: 0.01, max: 86_400 })
    .default(5)
    .describe("An alarm is raised when the clocks of the two sites may differ by more than this."),
  groupsMax: z
    .int()
    .min(1)
    .max(groupsCountMax)
    .default(256)
    .describe("No further group is begun once there are so many."),
  groups: z
    .array(group)
    .max(groupsCountMax)
    .default([])
    .describe("What differs for single groups; others are taken too."),
});

/** A vault's configuration as the rest sees it. */
export type VaultConfig = z.output<typeof vaultConfigSchema>;
