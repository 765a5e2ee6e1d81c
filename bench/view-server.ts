import assert from "node:assert/strict";
import { once } from "node:events";
import { openVault } from "../src/journal/vault.ts";
import { fixedExports } from "../src/nbd/export.ts";
import { serveNbd } from "../src/nbd/server.ts";
import { viewExport } from "../src/recovery/view-export.ts";
import { benchGroup, vaultOptions } from "./view-vault.ts";

// Serves the newest point of a vault over NBD on a unix socket until it is told to end, as `afterimage mount` does.

const [directory, socketPath, exportName] = process.argv.slice(2);
assert(directory !== undefined && socketPath !== undefined && exportName !== undefined);

await using vault = await openVault({ ...vaultOptions(directory), mode: "read" });
const reader = await vault.reader(benchGroup);
const head = reader.head();
assert(head !== null);
await using view = await reader.open(head.id);
const exports = fixedExports(new Map([[exportName, viewExport(view, head.disks[0]!)]]));
await using _server = await serveNbd({ listen: { path: socketPath }, exports });
process.stdout.write("listening\n");
await once(process, "SIGTERM");
