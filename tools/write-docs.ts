import { readFile, writeFile } from "node:fs/promises";
import { commandsPage } from "./commands-page.ts";
import { configPage } from "./config-page.ts";
import { faultPage } from "./fault-page.ts";
import { metricsPage } from "./metrics-page.ts";
import { vaultConfigPage } from "./vault-config-page.ts";

// Writes the pages that are made from code. `--check` writes nothing and fails when a page is out of date.

const pages: Readonly<Record<string, () => string>> = {
  "docs/operating/commands.md": commandsPage,
  "docs/operating/config.md": configPage,
  "docs/operating/faults.md": faultPage,
  "docs/operating/metrics.md": metricsPage,
  "docs/operating/vault-config.md": vaultConfigPage,
};

const isCheck = process.argv.includes("--check");
for (const [path, page] of Object.entries(pages)) {
  const wanted = page();
  const found = await readFile(path, "utf8").catch(() => null);
  if (found === wanted) continue;
  if (isCheck) {
    process.stderr.write(`${path} is out of date; run \`npx node tools/write-docs.ts\`\n`);
    process.exitCode = 1;
  } else {
    await writeFile(path, wanted);
    process.stdout.write(`wrote ${path}\n`);
  }
}
