import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import net from "node:net";
import { hostname, networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "vitest";
import { MIB } from "../base/units.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { nodeVault } from "../journal/vault-for-test.ts";
import { isInstalled, run, runWell } from "../nbd/test-programs.ts";
import { command, startCommand } from "./command-for-test.ts";

/** A vault with one point of one disk, a certificate for a reader, and what the disk holds. */
async function fixture() {
  await using stack = new AsyncDisposableStack();
  const vault = stack.use(await nodeVault());
  const directory = await mkdtemp(join(tmpdir(), "afterimage-cli-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const journal = await vault.reopen();
  const history = new TestHistory(7);
  history.addDisk("erp/data", 3 * MIB);
  history.scribble(4);
  const point = await history.seal(journal);
  await vault.close();
  const expected = history.remembered.get(point.id)?.get(point.disks[0]!.identity);
  assert(expected !== undefined);
  const out = join(directory, "host-b");
  const words = ["vault", "certificate", "host-b", "--vault", vault.directory, "--out", out];
  assert.equal((await command(...words)).exitCode, 0);
  const held = stack.move();
  return {
    vault: vault.directory,
    expected,
    certificates: out,
    file: (name: string) => join(directory, name),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

/** Names and addresses that another host would dial. */
function ownNames(): readonly string[] {
  const found = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const ipv4 = found.filter(({ family }) => family === "IPv4").map(({ address }) => address);
  return ["localhost", hostname(), ...ipv4];
}

describe.skipIf(!isInstalled("nbdcopy") || !isInstalled("qemu-img"))(
  "a point for other hosts",
  () => {
    test("is read by libnbd and QEMU by every name of this host, and by no other name", async () => {
      await using at = await fixture();
      const port = await freePort();
      const listen = ["--listen", `0.0.0.0:${port}`, "--tls"];
      const running = startCommand(["mount", at.vault, "erp", "--point", "newest", ...listen]);
      while (running.stdout() === "") {
        await new Promise((resolve) => setImmediate(resolve));
        assert.equal(running.stderr(), "");
      }
      for (const [index, host] of ownNames().entries()) {
        const copy = at.file(`copy-${index}`);
        const uri = `nbds://${host}:${port}/erp%2Fdata?tls-certificates=${at.certificates}`;
        await runWell("nbdcopy", uri, copy);
        assert(at.expected.equals(await readFile(copy)), host);
      }
      const object = `tls-creds-x509,id=t0,dir=${at.certificates},endpoint=client,verify-peer=on`;
      const image = (name: string) =>
        `driver=nbd,host=127.0.0.1,port=${port},export=erp/data,tls-creds=t0,tls-hostname=${name}`;
      const converted = at.file("converted");
      const convert = (name: string) =>
        ["convert", "--object", object, "--image-opts", image(name), converted] as const;
      await runWell("qemu-img", ...convert("localhost"));
      assert(at.expected.equals(await readFile(converted)));
      const elsewhere = await run("qemu-img", convert("elsewhere.example"));
      assert.notEqual(elsewhere.exitCode, 0);
      assert.match(elsewhere.stderr, /does not match the hostname/);
      running.interrupt();
      assert.equal(await running.exitCode, 0);
    });
  },
);
