import { once } from "node:events";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { systemPrng } from "../base/prng.ts";
import { testGroup } from "./history-for-test.ts";
import { sqliteLocks } from "./sqlite-locks.ts";
import { openVault } from "./vault.ts";

// A process of its own that holds a vault: `write` its writer lock, `read` a view of its oldest point. Says so, and waits to be killed.

const [directory, mode] = process.argv.slice(2);
await using vault = await openVault({
  files: nodeFileSystem(),
  directory: directory!,
  mode: mode === "write" ? "write" : "read",
  locks: sqliteLocks(),
  clock: systemClock(),
  prng: systemPrng(),
});
await using held = new AsyncDisposableStack();
if (mode === "read") {
  const reader = await vault.reader(testGroup);
  held.use(await reader.open(reader.points()[0]!.id));
}
process.stdout.write("held\n");
process.stdin.resume();
await once(process.stdin, "end"); // Whoever started it has died without killing it.
