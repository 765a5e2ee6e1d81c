import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { describe, test } from "vitest";
import {
  type CredentialsForTest,
  credentialsForTest,
  writeCredentials,
} from "../../test/support/tls-credentials.ts";
import { seededPrng } from "../base/prng.ts";
import { MIB } from "../base/units.ts";
import type { NbdAddress } from "./address.ts";
import { connectNbd } from "./client.ts";
import type { NbdClientTls } from "./client-options.ts";
import { fixedExports } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { serveNbd } from "./server.ts";
import type { NbdServerIncident } from "./server-options.ts";
import { isInstalled, run, runWell, startServer } from "./test-programs.ts";
import { scratchDirectory } from "./test-scratch.ts";

const sizeBytes = 8 * MIB;

function disk(): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  seededPrng(7).fill(bytes.subarray(MIB, 6 * MIB));
  return bytes;
}

/** Our server on TCP, and a directory with a reader's files. */
async function served(credentials: CredentialsForTest) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const incidents: NbdServerIncident[] = [];
  const bytes = disk();
  const server = stack.use(
    await serveNbd({
      listen: { host: "127.0.0.1", port: 0 },
      exports: fixedExports(new Map([["erp", memoryExport(bytes)]])),
      tls: credentials.server,
      report: (incident) => incidents.push(incident),
    }),
  );
  const { trust } = credentials.ids;
  await writeCredentials(scratch.path, trust.authorityPem, "client", credentials.reader);
  const { address } = server;
  assert("port" in address);
  const held = stack.move();
  return {
    uri: `${server.uri("erp")}?tls-certificates=${scratch.path}`,
    port: address.port,
    credentials: `tls-creds-x509,id=t0,dir=${scratch.path},endpoint=client,verify-peer=yes`,
    image: `driver=nbd,host=127.0.0.1,port=${address.port},export=erp,tls-creds=t0`,
    path: scratch.path,
    bytes,
    incidents,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

describe.skipIf(!isInstalled("nbdcopy"))("libnbd reads our server over TLS", () => {
  test("nbdinfo sees the export, nbdcopy gets every byte", async () => {
    await using at = await served(await credentialsForTest());
    const told = JSON.parse(await runWell("nbdinfo", "--json", at.uri));
    assert.equal(told.TLS, true);
    assert.equal(told.exports[0]["export-size"], sizeBytes);
    const copy = join(at.path, "copy");
    await runWell("nbdcopy", at.uri, copy);
    assert(Buffer.from(at.bytes).equals(await readFile(copy)));
    assert.deepEqual(at.incidents, []);
  });

  test("in the clear, with another vault's certificate or another role's, it gets nothing and the log says why", async () => {
    const credentials = await credentialsForTest();
    await using at = await served(credentials);
    const other = await credentialsForTest();
    const { authorityPem } = credentials.ids.trust;
    await writeCredentials(at.path, authorityPem, "client", other.reader);
    assert.notEqual((await run("nbdinfo", [at.uri])).exitCode, 0);
    await writeCredentials(at.path, authorityPem, "client", credentials.ids.replicator);
    assert.notEqual((await run("nbdinfo", [at.uri])).exitCode, 0);
    const plain = `nbd://127.0.0.1:${at.port}/erp`;
    assert.notEqual((await run("nbdinfo", [plain])).exitCode, 0);
    const reasons = at.incidents.map(({ error }) => String(error));
    assert.equal(reasons.length, 2, reasons.join("\n"));
    assert.match(reasons[0] ?? "", /127\.0\.0\.1:\d+ showed a certificate of another authority/);
    assert.match(reasons[1] ?? "", /showed a certificate for the role replicator/);
  });
});

describe.skipIf(!isInstalled("qemu-img"))("QEMU reads our server over TLS", () => {
  test("qemu-img converts it, qemu-io reads at offsets", async () => {
    await using at = await served(await credentialsForTest());
    const copy = join(at.path, "copy");
    await runWell(
      "qemu-img",
      "convert",
      "--object",
      at.credentials,
      "--image-opts",
      at.image,
      copy,
    );
    assert(Buffer.from(at.bytes).equals(await readFile(copy)));
    const read = ["--object", at.credentials, "--image-opts", at.image, "-r", "-c"];
    const told = await runWell("qemu-io", ...read, "read -v 1048576 16");
    const hex = Buffer.from(at.bytes.subarray(MIB, MIB + 16)).toString("hex");
    assert.equal(/00100000: +((?:[0-9a-f]{2} ){16})/.exec(told)?.[1]?.replaceAll(" ", ""), hex);
    assert.deepEqual(at.incidents, []);
  });
});

/** A port that is free now. */
async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

/** Reads all of an export as our client sees it. */
async function readAll(address: NbdAddress, tls: NbdClientTls, exportName: string) {
  await using client = await connectNbd({ address, tls, exportName });
  const bytes = new Uint8Array(client.sizeBytes);
  const reads: Promise<void>[] = [];
  for (let at = 0; at < bytes.length; at += MIB) {
    reads.push(client.read(at, bytes.subarray(at, at + MIB)));
  }
  await Promise.all(reads);
  return bytes;
}

interface Foreign {
  readonly program: string;
  readonly arguments: (port: number, directory: string, image: string) => readonly string[];
}

const foreign: readonly Foreign[] = [
  {
    program: "qemu-nbd",
    arguments: (port, directory, image) => [
      ...["--object", `tls-creds-x509,id=t0,dir=${directory},endpoint=server,verify-peer=yes`],
      ...["--tls-creds", "t0", "-t", "-b", "127.0.0.1", "-p", String(port), "-x", "erp"],
      ...["-e", "4", "-r", "-f", "raw", image],
    ],
  },
  {
    program: "nbdkit",
    arguments: (port, directory, image) => [
      ...["-f", "-i", "127.0.0.1", "-p", String(port), "--tls=require"],
      ...[`--tls-certificates=${directory}`, "--tls-verify-peer", "-r", "file", image],
    ],
  },
];

for (const { program, arguments: argumentsOf } of foreign) {
  describe.skipIf(!isInstalled(program))(`our client reads ${program} over TLS`, () => {
    test("every byte, and only from the server it trusts, with a certificate that server trusts", async () => {
      await using stack = new AsyncDisposableStack();
      const scratch = stack.use(await scratchDirectory());
      const credentials = await credentialsForTest();
      const { authorityPem } = credentials.ids.trust;
      const directory = join(scratch.path, "pki");
      await mkdir(directory);
      await writeCredentials(directory, authorityPem, "server", credentials.ids.vault);
      const image = join(scratch.path, "image");
      await writeFile(image, disk());
      const address = { host: "127.0.0.1", port: await freePort() };
      stack.use(
        await startServer(address, program, ...argumentsOf(address.port, directory, image)),
      );
      const bytes = await readAll(address, credentials.client, "erp");
      assert(Buffer.from(bytes).equals(disk()));
      const other = await credentialsForTest();
      const trustsAnother = { ...credentials.client, authorityPem: other.ids.trust.authorityPem };
      await assert.rejects(readAll(address, trustsAnother, "erp"), { code: "PEER_REFUSED" });
      const expectsAnother = { ...credentials.client, serverName: "elsewhere.example" };
      await assert.rejects(readAll(address, expectsAnother, "erp"), { code: "PEER_REFUSED" });
      const shownAnother = { ...credentials.client, identity: other.reader };
      await assert.rejects(readAll(address, shownAnother, "erp"), { name: "Fault" });
      await assert.rejects(connectNbd({ address, exportName: "erp" }), { code: "NBD_REFUSED" });
    });
  });
}
