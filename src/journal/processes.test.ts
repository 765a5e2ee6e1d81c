import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { TestHistory } from "./history-for-test.ts";
import { nodeVault } from "./vault-for-test.ts";

const mib = 1024 * 1024;
const signal = new AbortController().signal;
const program = fileURLToPath(new URL("./holder-for-test.ts", import.meta.url));

/** Another process that holds the vault until it is killed. */
async function holder(directory: string, mode: "write" | "read") {
  const child = spawn(process.execPath, [program, directory, mode], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  return {
    kill: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

test("two processes cannot write to one vault, and a killed one leaves it free", async () => {
  await using vault = await nodeVault();
  const other = await holder(vault.directory, "write");
  await expect(vault.reopen()).rejects.toMatchObject({ code: "VAULT_BUSY" });
  await other.kill();
  expect((await vault.reopen()).points()).toEqual([]);
});

test("a point that another process reads stays, until that process is killed", async () => {
  await using vault = await nodeVault();
  const journal = await vault.reopen();
  const history = new TestHistory(1);
  history.addDisk("db/data", mib);
  for (let count = 0; count < 4; count += 1) {
    history.scribble(2);
    await history.seal(journal);
  }
  const other = await holder(vault.directory, "read");
  const [, second, , newest] = journal.points();
  const pinned = { code: "POINT_PINNED", details: { sequence: 1 } };
  await expect(journal.moveBase({ to: second!.id, signal })).rejects.toMatchObject(pinned);
  await expect(journal.thin({ keep: [], signal })).rejects.toMatchObject(pinned);
  history.scribble(2);
  await history.seal(journal); // Seals go on beside readers.
  await other.kill();
  await journal.moveBase({ to: newest!.id, signal });
  expect(journal.points().map((point) => point.sequence)).toEqual([4, 5]);
  expect(await vault.files.list(vault.layout.pins)).toEqual([]);
  await history.check(journal);
});
