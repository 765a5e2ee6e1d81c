import { z } from "zod";
import { parseConfig } from "../src/cli/config.ts";
import { configSchema } from "../src/cli/config-schema.ts";

interface SchemaNode {
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

interface Row {
  readonly key: string;
  readonly value: string;
  readonly fallback: string;
  readonly meaning: string;
}

const example = `vault: /srv/vault
intervalSeconds: 2
scratch:
  directory: /var/lib/afterimage
  capBytes: 4GiB
retention:
  pointsMax: 500
  ageSeconds: 7d
groups:
  - name: erp
    machines:
      - name: db
        qmp: /run/db.qmp
        disks:
          - name: data
            node: data
          - name: wal
            node: wal
`;

const twoSitesExample = `state: /var/lib/afterimage/replicator
targetRpoSeconds: 15
metrics: 127.0.0.1:9641
scratch:
  directory: /var/lib/libvirt/afterimage
spool:
  capBytes: 200GiB
link:
  bytesPerSecondMax: 60MiB
  schedule: ["mon-fri 08:00-18:00 10MiB"]
sync:
  windows: ["mon-sun 20:00-06:00"]
groups:
  - name: erp
    compression: zstd
    onStale: pause
    machines:
      - name: db
        qmp: /run/db.qmp
        disks:
          - name: data
            node: data
          - name: wal
            node: wal
`;

/** Has only what is required: what else the parsed value holds are defaults. */
const smallest = `vault: /a
scratch: {directory: /b}
groups: [{name: a, machines: [{name: a, qmp: /c, disks: [{name: a, node: a}]}]}]
`;

/** docs/operating/config.md, made from the schema. */
export function configPage(): string {
  const rows = keyRowsOf(configSchema, parseConfig(smallest, "smallest"));
  return `# Configuration of \`afterimage up\` and \`afterimage replicator serve\`

Made from \`src/cli/config-schema.ts\` by \`npx node tools/write-docs.ts\`; do not edit.

One YAML file. Unknown keys, wrong values and parts that contradict each other are refused with the line and the key; nothing
is guessed. Keys carry their unit (\`intervalSeconds\`, \`capBytes\`): a plain number is in that unit, and a string may bring
another one (\`500ms\`, \`2s\`, \`5min\`, \`12h\`, \`7d\`; \`512MiB\`, \`4GiB\`). Paths are absolute. \`--print-config\`
shows the values that would be used and does nothing else.

A disk or a QMP socket belongs to one group only, and scratch lies neither within vault, state or spool nor around them.

One process, source and vault on one host, \`afterimage up\`:

\`\`\`yaml
${example}\`\`\`

Two sites, \`afterimage replicator serve\`, after \`afterimage replicator join TOKEN\` has made the state directory. How long points stay is
the vault's to say (\`vault.yaml\` there). \`SIGHUP\` reads the file again: interval and targets, caps, schedules, windows and
compression apply at once, and what needs a restart is named in the log.

\`\`\`yaml
${twoSitesExample}\`\`\`

| Key | Value | Default | Meaning |
|---|---|---|---|
${rows.join("\n")}
`;
}

/** A schema's keys as rows of a table. */
export function keyRowsOf(schema: z.ZodType, effective: unknown): readonly string[] {
  const node = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as SchemaNode;
  return rowsOf(node, "", effective).map(
    (row) => `| \`${row.key}\` | ${row.value} | ${row.fallback} | ${row.meaning} |`,
  );
}

/** `effective` is what the parsed value has at this place when only required keys are given. */
function rowsOf(node: SchemaNode, prefix: string, effective: unknown): readonly Row[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, property]) => {
    const key = `${prefix}${name}`;
    const isRequired = node.required?.includes(name) === true;
    const value: unknown = Object(effective)[name];
    const row = {
      key,
      value: kindOf(property),
      fallback: isRequired ? "required" : defaultOf(value),
      meaning: property.description ?? "",
    };
    const inner = [property, property.items ?? {}, ...(property.anyOf ?? [])];
    const suffix = property.items === undefined ? "." : "[].";
    return [
      row,
      ...inner.flatMap((one) =>
        rowsOf(one, `${key}${suffix}`, Array.isArray(value) ? value[0] : value),
      ),
    ];
  });
}

function kindOf(node: SchemaNode): string {
  if (node.enum !== undefined) return node.enum.map((word) => `\`${word}\``).join(" or ");
  if (node.type === "array") return "list";
  if (node.properties !== undefined) return "map";
  const inner = node.anyOf?.map(kindOf) ?? [];
  const kinds = inner.length > 0 ? inner : [node.type ?? "text"].flat();
  const words = kinds
    .flatMap((kind) => kind.split(" or "))
    .filter((kind) => kind !== "null" && kind !== "")
    .map((kind) => kind.replace("string", "text").replace("integer", "whole number"));
  return [...new Set(words)].join(" or ");
}

function defaultOf(value: unknown): string {
  if (typeof value === "number") return `\`${value}\``;
  // Words of the smallest file are no defaults.
  return typeof value === "string" && !smallest.includes(` ${value}`) ? `\`${value}\`` : "";
}
