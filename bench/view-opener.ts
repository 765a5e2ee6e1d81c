import assert from "node:assert/strict";
import { openVault } from "../src/journal/vault.ts";
import { ownRssBytesMax } from "./process.ts";
import { benchGroup, vaultOptions } from "./view-vault.ts";

// Opens the newest point of a vault in a process of its own, reads its first byte, and prints one line of JSON: how long the
// ledger took, how long the view took to its first byte, and how much memory the process came to need.

const [directory] = process.argv.slice(2);
assert(directory !== undefined);

const startedAtMs = performance.now();
const cpuAtStart = process.cpuUsage();
await using vault = await openVault({ ...vaultOptions(directory), mode: "read" });
const reader = await vault.reader(benchGroup);
const head = reader.head();
assert(head !== null);
const ledgerReadAtMs = performance.now();
await using view = await reader.open(head.id);
await view.read(head.disks[0]!.identity, 0, new Uint8Array(1));
const firstByteAtMs = performance.now();
const told = {
  ledgerMs: ledgerReadAtMs - startedAtMs,
  openMs: firstByteAtMs - ledgerReadAtMs,
  cpuMs: process.cpuUsage(cpuAtStart).user / 1000,
  rssBytes: await ownRssBytesMax(),
};
process.stdout.write(`${JSON.stringify(told)}\n`);
