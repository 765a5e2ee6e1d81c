import assert from "node:assert/strict";
import { once } from "node:events";
import { systemClock } from "../src/base/clock.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { systemPrng } from "../src/base/prng.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";
import { initVault, openVault } from "../src/journal/vault.ts";
import { listenTls } from "../src/tls/listen.ts";
import { linkReceiver } from "../src/transport/link-receiver.ts";
import { readIdentities } from "./link-identities.ts";
import { benchGroup } from "./view-vault.ts";

// The recovery site of `ship` and `wan`: a vault in a directory of its own, for as long as it is not told to end. Prints its port.

const [directory, identitiesDirectory] = process.argv.slice(2);
assert(directory !== undefined && identitiesDirectory !== undefined);

const [clock, prng, files] = [systemClock(), systemPrng(), nodeFileSystem()];
const identities = await readIdentities(identitiesDirectory);
const parts = { files, directory, locks: sqliteLocks(), clock, prng, codec: "raw" } as const;
await initVault(files, directory, parts);
await using vault = await openVault({ ...parts, mode: "write" });
await vault.createGroup(benchGroup);
await using receiver = linkReceiver({
  openGroup: (_peer, group) => vault.journal(group),
  clock,
  prng,
  usesThreads: true,
});
await using listener = await listenTls({
  host: "127.0.0.1",
  port: 0,
  identity: () => identities.vault,
  trust: identities.trust,
  isRevoked: () => false,
  onChannel: (channel) => receiver.accept(channel),
  onRefused: (refused) => process.stderr.write(`refused: ${JSON.stringify(refused)}\n`),
  clock,
});
process.stdout.write(`${listener.address.port}\n`);
await once(process, "SIGTERM");
const repeatedBytes = receiver.sessions().reduce((sum, at) => sum + at.repeatedBytes, 0);
process.stdout.write(`${repeatedBytes}\n`);
