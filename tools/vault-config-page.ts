import { parseVaultConfig } from "../src/cli/vault-config.ts";
import { vaultConfigSchema } from "../src/cli/vault-config-schema.ts";
import { keyRowsOf } from "./config-page.ts";

const example = `listen: 0.0.0.0:7420
advertise: ["vault.example:7420"]
metrics: 127.0.0.1:9642
retention:
  pointsMax: 2000
  ageSeconds: 7d
silentAfterSeconds: 2min
groups:
  - name: erp
    retention:
      ageSeconds: 30d
`;

/** docs/operating/vault-config.md, made from the schema. */
export function vaultConfigPage(): string {
  parseVaultConfig(example, "example"); // What is shown must be valid.
  const rows = keyRowsOf(vaultConfigSchema, parseVaultConfig("groups: [{name: a}]", "smallest"));
  return `# Configuration of \`afterimage vault serve\`

Made from \`src/cli/vault-config-schema.ts\` by \`npx node tools/write-docs.ts\`; do not edit.

One YAML file, given with \`--config\`; without one every key has its default. Unknown keys and wrong values are refused with the line and
the key. Keys carry their unit: a plain number is in that unit, and a string may bring another one (\`500ms\`, \`2s\`, \`5min\`,
\`12h\`, \`7d\`). \`--print-config\` shows the values that would be used and does nothing else.

How long points stay is decided here and never by a replicator; whether they are compressed is the replicator's to say.

\`\`\`yaml
${example}\`\`\`

| Key | Value | Default | Meaning |
|---|---|---|---|
${rows.join("\n")}
`;
}
