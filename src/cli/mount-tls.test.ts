import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { TestHistory } from "../journal/history-for-test.ts";
import { nodeVault, type TestVault } from "../journal/vault-for-test.ts";
import { connectNbd } from "../nbd/client.ts";
import { command, commandJson, startCommand } from "./command-for-test.ts";

let vault: TestVault;
let directory = "";
let expected: Uint8Array = new Uint8Array();

beforeAll(async () => {
  vault = await nodeVault();
  const journal = await vault.reopen();
  const history = new TestHistory(7);
  history.addDisk("erp/data", MIB);
  history.scribble(4);
  const point = await history.seal(journal);
  expected = history.remembered.get(point.id)?.get(point.disks[0]!.identity) ?? expected;
  // A certificate can be made beside the writer only when there is an authority already.
  await vault.close();
});
afterAll(() => vault[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-cli-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function certificate(name: string) {
  const out = join(directory, name);
  const words = ["certificate", name, "--vault", vault.directory, "--out", out];
  expect(await commandJson("vault", ...words)).toMatchObject({ name, directory: out });
  const read = (file: string) => readFile(join(out, file), "latin1");
  expect((await stat(join(out, "client-key.pem"))).mode & 0o777).toBe(0o600);
  return {
    authorityPem: await read("ca-cert.pem"),
    identity: {
      privateKeyPem: await read("client-key.pem"),
      certificatePem: await read("client-cert.pem"),
    },
  };
}

async function mounted(...words: readonly string[]) {
  const all = ["mount", vault.directory, "erp", "--point", "newest", "--json", ...words];
  const running = startCommand(all);
  while (running.stdout() === "") {
    await Promise.race([running.exitCode, new Promise((resolve) => setImmediate(resolve))]);
    if (running.stderr() !== "") throw new Error(running.stderr());
  }
  const { uri } = JSON.parse(running.stdout()).disks[0];
  const port = Number(/^nbds:\/\/127\.0\.0\.1:(\d+)\/erp%2Fdata$/.exec(uri)?.[1]);
  return { running, address: { host: "127.0.0.1", port } };
}

test("a point is served over TLS to a host with a certificate, until that is revoked", async () => {
  const tls = await certificate("host-b");
  const { running, address } = await mounted("--port", "0", "--tls");
  {
    await using nbd = await connectNbd({ address, tls, exportName: "erp/data" });
    const read = new Uint8Array(nbd.sizeBytes);
    await nbd.read(0, read);
    expect(Buffer.from(read).equals(expected)).toBe(true);
  }
  const serverName = "localhost";
  await using byName = await connectNbd({
    address,
    tls: { ...tls, serverName },
    exportName: "erp/data",
  });
  expect(byName.sizeBytes).toBe(MIB);
  await expect(connectNbd({ address, exportName: "erp/data" })).rejects.toMatchObject({
    code: "NBD_REFUSED",
  });
  const revoked = await command("vault", "revoke", "host-b", "--vault", vault.directory);
  expect(revoked).toMatchObject({ exitCode: 0 });
  await expect(connectNbd({ address, tls, exportName: "erp/data" })).rejects.toMatchObject({
    code: "NBD_CLOSED",
  });
  expect(running.stderr()).toMatch(/127\.0\.0\.1:\d+ showed a revoked certificate\n$/);
  running.interrupt();
  expect(await running.exitCode).toBe(0);
});

test("other hosts are served over TLS alone, and only once somebody could come", async () => {
  const words = ["mount", vault.directory, "erp", "--point", "newest"];
  const plain = await command(...words, "--listen", "0.0.0.0:10809");
  expect(plain).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/USAGE: .*TLS alone/) });
  const noAddress = await command(...words, "--listen", "nowhere", "--tls");
  expect(noAddress.exitCode).toBe(2);
});
