import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { credentialsForTest, writeCredentials } from "../../../test/support/tls-credentials.ts";
import { MIB } from "../../base/units.ts";
import type { MachineName } from "../../core/ids.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import { ownCredentials } from "../../qemu/own-names.ts";
import {
  diskName,
  extentsOf,
  testSignal as signal,
  type TestHost,
  testGroup,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { startTestMachine, type TestMachine } from "./test-machine.ts";

const disks = [{ name: "data", sizeBytes: 64 * MIB }];
const data = diskName("db/data");
const since = new Map([[data, testPoint(1)]]);
const whole = new Uint8Array(blockSizeBytes);

let host: TestHost;
let port: number;
beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
  port = await freePort();
  await makeCertificates();
});
afterEach(() => host[Symbol.asyncDispose]());

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

const here = () => join(host.directory, "here");
const there = () => join(host.directory, "there");

async function makeCertificates(): Promise<void> {
  const { ids, reader } = await credentialsForTest();
  for (const directory of [here(), there()]) await mkdir(directory, { recursive: true });
  const { authorityPem } = ids.trust;
  await writeCredentials(here(), authorityPem, "client", reader);
  await writeCredentials(there(), authorityPem, "server", ids.vault);
}

function remoteSource(machine: TestMachine) {
  const nbd = { host: "127.0.0.1", port, tlsDirectory: here(), qemuTlsDirectory: there() };
  const disk = { name: "data", node: "data", tracking: "persistent" as const };
  const name = "db" as MachineName;
  return host.source({}, { machines: [{ name, qmpPath: machine.qmpPath, disks: [disk], nbd }] });
}

async function objectsOf(machine: TestMachine): Promise<readonly string[]> {
  const objects = await machine.qmp.execute("qom-list", { path: "/objects" });
  return (objects as { name: string }[])
    .map(({ name }) => name)
    .filter((name) => name.startsWith("afterimage"));
}

const info = async (machine: TestMachine) =>
  await machine.qmp.execute("human-monitor-command", { "command-line": "info block-jobs" });

test("a QEMU on another host is read over TLS: points, and disks as they are", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  {
    await using source = remoteSource(machine);
    await source.track([data], testPoint(1), { signal });
    await machine.io("data", "write -P 7 1M 64k");
    {
      await using live = await source.openLive(data, { signal });
      const into = whole.slice();
      await live.read(MIB, into);
      expect(into).toEqual(whole.slice().fill(7));
    }
    await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
    await machine.io("data", "write -P 8 1M 64k");
    expect(await extentsOf(snapshot, data)).toEqual([
      { offsetBytes: MIB, lengthBytes: blockSizeBytes, state: "data" },
    ]);
    const into = whole.slice();
    await snapshot.read(data, MIB, into);
    expect(into).toEqual(whole.slice().fill(7));
    expect(await objectsOf(machine)).toHaveLength(1);
    await snapshot.forget();
  }
  expect(await machine.ours()).toEqual([]);
  expect(await objectsOf(machine)).toEqual([]);
  expect(String(await info(machine))).toContain("No active jobs");
});

test("a machine of another host that cannot be reached is not taken for one that is off: its images stay closed", async () => {
  const sent: string[] = [];
  const nbd = { host: "127.0.0.1", port, tlsDirectory: here(), qemuTlsDirectory: there() };
  const image = host.imagePath("db", "data");
  const disk = { name: "data", node: "data", image, tracking: "persistent" as const };
  const name = "db" as MachineName;
  const machines = [{ name, qmpPath: join(host.directory, "tunnel"), disks: [disk], nbd }];
  const onCommand = ({ execute }: { execute: string }) => sent.push(execute);
  await using source = host.source({}, { machines, onCommand });
  const unreachable = { code: "QMP_MISSING" };
  await expect(source.repair({ keep: [], signal })).rejects.toMatchObject(unreachable);
  await expect(source.track([data], testPoint(1), { signal })).rejects.toMatchObject(unreachable);
  expect(sent).toEqual([]);
});

test("certificates made as the manual says do", async () => {
  const page = join(import.meta.dirname, "../../../docs/operating/remote-qemu.md");
  const text = await readFile(page, "utf8");
  const [, script] = /```sh\n(HOST=[^`]*)```/.exec(text) ?? [];
  assert(script !== undefined, "the page has no script that makes certificates");
  const cwd = join(host.directory, "made");
  await mkdir(cwd);
  const words = ["-e", "-c", script.replace(/^HOST=.*$/m, "HOST=127.0.0.1")];
  execFileSync("sh", words, { cwd, stdio: "ignore" });
  for (const [to, name] of [
    [here(), "client"],
    [there(), "server"],
  ] as const) {
    await copyFile(join(cwd, "ca-cert.pem"), join(to, "ca-cert.pem"));
    for (const part of ["cert", "key"]) {
      await copyFile(join(cwd, `${name}-${part}.pem`), join(to, `${name}-${part}.pem`));
    }
  }
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = remoteSource(machine);
  await source.track([data], testPoint(1), { signal });
  await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
  await snapshot.read(data, 0, whole.slice());
});

test("a QEMU whose certificate comes from elsewhere is not read from, and the point is given up", async () => {
  const { ids } = await credentialsForTest();
  await writeCredentials(there(), ids.trust.authorityPem, "server", ids.vault);
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  await using source = remoteSource(machine);
  await source.track([data], testPoint(1), { signal });
  {
    await using snapshot = await source.freeze({ id: testPoint(2), since, signal });
    await expect(snapshot.read(data, 0, whole.slice())).rejects.toMatchObject({
      code: expect.stringMatching(/PEER_REFUSED|NBD_CLOSED/) as string,
    });
  }
  expect(await machine.bitmaps("data")).toEqual([expect.stringContaining(testPoint(1))]);
});

test("certificates that are not there are a fault that names the file, and leave nothing in QEMU", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const nbd = { host: "127.0.0.1", port, tlsDirectory: here(), qemuTlsDirectory: "/nowhere" };
  const disk = { name: "data", node: "data", tracking: "persistent" as const };
  const name = "db" as MachineName;
  const settings = { name, qmpPath: machine.qmpPath, disks: [disk], nbd };
  await using source = host.source({}, { machines: [settings] });
  await source.track([data], testPoint(1), { signal });
  await expect(source.freeze({ id: testPoint(2), since, signal })).rejects.toMatchObject({
    code: "QMP_REFUSED",
    message: expect.stringContaining("/nowhere") as string,
  });
  expect(await objectsOf(machine)).toEqual([]);
});

test("the server of an earlier life of ours is used again; another tool's is refused, and left as it is", async () => {
  await using machine = await startTestMachine(host, "db", disks, { isPaused: true });
  const dir = there();
  const credentials = { "qom-type": "tls-creds-x509", endpoint: "server", dir };
  {
    await using source = remoteSource(machine);
    await source.track([data], testPoint(1), { signal });
    await machine.qmp.execute("object-add", { ...credentials, id: "other" });
  }
  // A source that is disposed leaves nothing, so what a killed one leaves is made by hand.
  const own = ownCredentials(testGroup, "db" as MachineName);
  await machine.qmp.execute("object-add", { ...credentials, id: own });
  const inet = { type: "inet", data: { host: "127.0.0.1", port: String(port) } };
  await machine.qmp.execute("nbd-server-start", { addr: inet, "tls-creds": own });
  {
    await using source = remoteSource(machine);
    await using snapshot = await source.freeze({ id: testPoint(3), since, signal });
    await snapshot.read(data, 0, whole.slice());
  }
  expect(await objectsOf(machine)).toEqual([]);
  await machine.qmp.execute("nbd-server-start", { addr: inet, "tls-creds": "other" });
  await using source = remoteSource(machine);
  await expect(source.freeze({ id: testPoint(4), since, signal })).rejects.toMatchObject({
    code: "QMP_REFUSED",
    message: expect.stringContaining("another tool's") as string,
  });
  expect(await objectsOf(machine)).toEqual([]);
  await machine.qmp.execute("nbd-server-stop");
});
