import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../src/base/units.ts";
import { runTool } from "../src/qemu/run-tool.ts";
import { type Guest, type TestHost, testHost } from "../src/source/qemu/test-guest.ts";
import { startTestMachine } from "../src/source/qemu/test-machine.ts";
import { afterimage, afterimageJson, startAfterimage } from "./afterimage-process.ts";

const disks = [
  { name: "data", sizeBytes: 32 * MIB },
  { name: "wal", sizeBytes: 8 * MIB },
];

let host: TestHost;
let guest: Guest;
let vault = "";
let config = "";

beforeEach(async () => {
  host = await testHost();
  await host.createImages("db", disks);
  guest = await host.start("db", disks);
  vault = join(host.directory, "vault");
  config = join(host.directory, "config.yaml");
  await writeFile(
    config,
    `vault: ${vault}
intervalSeconds: 0.2
scratch: {directory: ${host.scratchDirectory}, capBytes: 100MiB}
groups:
  - name: erp
    machines:
      - name: db
        qmp: ${guest.qmpPath}
        disks:
          - {name: data, node: data}
          - {name: wal, node: wal}
`,
  );
  expect((await afterimage("vault", "init", vault)).exitCode).toBe(0);
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const write = (disk: string, offsetBytes: number, lengthBytes: number, fill: number) =>
  guest.disk(disk).write(offsetBytes, new Uint8Array(lengthBytes).fill(fill));

/** A guest that goes on writing, so that each cycle has something for a point. Disposing ends it. */
function busyGuest(): AsyncDisposable {
  const over = new AbortController();
  const writing = (async () => {
    for (let fill = 1; !over.signal.aborted; fill = (fill + 1) % 256) {
      await write("wal", 0, 4096, fill);
      await delay(20);
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await writing;
    },
  };
}

async function run(...words: readonly string[]) {
  const ended = await afterimage("run", config, ...words);
  expect(ended.stderr).not.toMatch(/BUG/);
  return ended;
}

async function points(): Promise<readonly { sequence: number; cost: Record<string, number> }[]> {
  return (await afterimageJson<{ points: never[] }>("points", vault, "erp")).points;
}

describe("a point by command line", () => {
  test("is taken, listed, served, exported as raw and as qcow2, and the two are alike", async () => {
    await write("data", MIB, 3 * MIB, 7);
    await write("wal", 4096, 4096, 8);
    expect((await run("--once")).exitCode).toBe(0);
    await write("data", 2 * MIB, 65_536, 9);
    expect((await run("--once")).exitCode).toBe(0);
    const [first, second] = await points();
    expect([first?.sequence, second?.sequence]).toEqual([1, 2]);
    expect(second?.cost.readBytes).toBe(65_536);

    await using mount = startAfterimage("mount", vault, "erp", "--point", "oldest", "--json");
    const served = JSON.parse(await mount.seen(/\n/)) as { disks: { name: string; uri: string }[] };
    const uri = served.disks.find((disk) => disk.name === "db/data")?.uri ?? "";
    expect(JSON.parse(await runTool("nbdinfo", ["--json", uri]))).toMatchObject({
      exports: [{ "export-size": 32 * MIB, is_read_only: true }],
    });
    const copy = join(host.directory, "copy.raw");
    await runTool("nbdcopy", [uri, copy]);
    mount.child.kill("SIGINT");
    expect(await mount.ended).toMatchObject({ exitCode: 0 });

    const out = (format: string) => join(host.directory, `out-${format}`);
    for (const format of ["raw", "qcow2"]) {
      const words = ["export", vault, "erp", "--point", "1", "--out", out(format)];
      await afterimageJson(...words, "--format", format);
    }
    const raw = join(out("raw"), "db", "data.raw");
    const compare = ["compare", "-f", "raw", "-F"];
    await runTool("qemu-img", [...compare, "qcow2", raw, join(out("qcow2"), "db", "data.qcow2")]);
    await runTool("qemu-img", [...compare, "raw", raw, copy]);
    expect((await stat(raw)).blocks * 512).toBeLessThan(4 * MIB);
    const words = ["export", vault, "erp", "--point", "newest", "--out", out("raw")];
    expect(await afterimage(...words)).toMatchObject({ exitCode: 2 });
  });

  test("is stored as it is, and compressed once the configuration asks for it", async () => {
    await run("--once");
    await write("data", 0, MIB, 7);
    await run("--once");
    await appendFile(config, "compression: zstd\n");
    await write("data", 0, MIB, 8);
    await run("--once");
    const [, plain, packed] = await points();
    expect(plain?.cost.storedBytes).toBeGreaterThan(MIB);
    expect(packed?.cost.storedBytes).toBeLessThan(MIB / 4);
    expect((await afterimage("verify", vault, "erp")).exitCode).toBe(0);
  });

  test("is served with a layer that takes writes and is thrown away", async () => {
    await write("data", 0, MIB, 5);
    await run("--once");
    const words = ["mount", vault, "erp", "--point", "newest", "--writable", "--json"];
    await using mount = startAfterimage(...words);
    const served = JSON.parse(await mount.seen(/\n/)) as { disks: { name: string; uri: string }[] };
    const uri = served.disks.find((disk) => disk.name === "db/data")?.uri ?? "";
    const io = (command: string) => runTool("qemu-io", ["-f", "raw", "-c", command, uri]);
    await io("write -P 99 64k 100k");
    expect(await io("read -P 99 64k 100k")).not.toMatch(/verification failed/);
    expect(await io("read -P 5 164k 800k")).not.toMatch(/verification failed/);
    mount.child.kill("SIGTERM");
    await mount.ended;
    const out = join(host.directory, "out");
    await afterimageJson("export", vault, "erp", "--point", "newest", "--out", out);
    const read = ["-f", "raw", "-c", "read -P 5 0 1M", join(out, "db/data.raw")];
    expect(await runTool("qemu-io", read)).not.toMatch(/verification failed/);
  });
});

describe("afterimage run", () => {
  test("ends cleanly on SIGTERM, and the next run goes on", async () => {
    await using running = startAfterimage("run", config, "--log", "json");
    await running.seen(/A point was sealed/);
    // Nothing new is no point.
    await write("data", 0, MIB, 1);
    await running.seen(/A point was sealed[\s\S]*A point was sealed/);
    running.child.kill("SIGTERM");
    const ended = await running.ended;
    expect(ended).toMatchObject({ exitCode: 0, signal: null });
    for (const line of ended.stderr.trim().split("\n")) {
      expect(JSON.parse(line)).toMatchObject({
        level: expect.any(Number),
        msg: expect.any(String),
      });
    }
    const before = (await points()).length;
    expect((await run("--once")).exitCode).toBe(0);
    expect(await points()).toHaveLength(before + 1);
  });

  test("killed at any moment and started again loses nothing", async () => {
    for (const fill of [1, 2, 3]) {
      await using running = startAfterimage("run", config);
      await running.seen(/replicating/);
      await write("data", fill * MIB, MIB, fill);
      running.child.kill("SIGKILL");
      await running.ended;
    }
    const ended = await run("--once");
    expect(ended).toMatchObject({ exitCode: 0 });
    const out = join(host.directory, "out");
    await afterimageJson("export", vault, "erp", "--point", "newest", "--out", out);
    for (const fill of [1, 2, 3]) {
      const command = `read -P ${fill} ${fill}M 1M`;
      const said = await runTool("qemu-io", ["-f", "raw", "-c", command, join(out, "db/data.raw")]);
      expect(said).not.toMatch(/verification failed/);
    }
  });

  test("is the only writer; readers live beside it, and status tells who writes", async () => {
    await using running = startAfterimage("run", config);
    await running.seen(/sealed #/);
    const second = await run("--once");
    expect(second.exitCode).toBe(2);
    expect(second.stderr).toMatch(/VAULT_BUSY/);
    const status = await afterimageJson<{
      writer: { pid: number };
      groups: { name: string; state: string; rpoSeconds: number }[];
    }>("status", vault);
    expect(status.writer.pid).toBeGreaterThan(1);
    expect(status.groups).toMatchObject([{ name: "erp", state: "replicating" }]);
    expect((await points()).length).toBeGreaterThan(0);
  });

  test("that cannot reach the machine says so and ends when it has an end", async () => {
    await guest.kill();
    const ended = await run("--once");
    expect(ended.exitCode).toBe(2);
    expect(ended.stderr).toMatch(/afterimage: QMP_MISSING: .* — /);
  });

  test("interrupted a second time ends at once", async () => {
    await using running = startAfterimage("run", config);
    await running.seen(/sealed #/);
    running.child.kill("SIGSTOP");
    running.child.kill("SIGINT");
    running.child.kill("SIGTERM");
    running.child.kill("SIGCONT");
    expect((await running.ended).exitCode).toBe(2);
  });
});

test("two machines are taken at one instant, and the skew stands in the point", async () => {
  await using running = new AsyncDisposableStack();
  const machines: string[] = [];
  for (const name of ["app", "web"]) {
    const root = [{ name: "root", sizeBytes: 8 * MIB }];
    await host.createImages(name, root);
    const { qmpPath } = running.use(await startTestMachine(host, name, root));
    machines.push(`{name: ${name}, qmp: ${qmpPath}, disks: [{name: root, node: root}]}`);
  }
  await writeFile(
    config,
    `vault: ${vault}
scratch: {directory: ${host.scratchDirectory}, capBytes: 100MiB}
groups: [{name: erp, machines: [${machines.join(", ")}]}]
`,
  );
  const ended = await run("--once");
  expect(ended.exitCode, ended.stderr).toBe(0);
  expect(await points()).toMatchObject([
    {
      consistency: { isGroupConsistent: true, skewMs: expect.any(Number) },
      machines: ["app", "web"],
      disks: [{ name: "app/root" }, { name: "web/root" }],
    },
  ]);
});

test("points are thinned and the base is moved through the process that replicates", async () => {
  await using _busy = busyGuest();
  await using running = startAfterimage("run", config);
  await running.seen(/sealed #5/);
  const sequences = async () => (await points()).map((point) => point.sequence);
  const thinned = await afterimageJson<{ retired: number }>(
    ...["thin", vault, "erp", "--keep", "#1", "--keep", "#4"],
  );
  expect(thinned.retired).toBeGreaterThanOrEqual(2);
  expect((await sequences()).slice(0, 2)).toEqual([1, 4]);
  const moved = await afterimageJson<{ retired: number }>("move-base", vault, "erp", "--to", "#4");
  expect(moved.retired).toBe(1);
  expect((await sequences())[0]).toBe(4);
  const before = (await points()).length;
  await running.seen(new RegExp(`sealed #${before + 8}`));
  running.child.kill("SIGINT");
  expect(await running.ended).toMatchObject({ exitCode: 0 });
});

test("retention retires what is too much, and a point that is mounted waits", async () => {
  await using _busy = busyGuest();
  await run("--cycles", "3");
  await using mount = startAfterimage("mount", vault, "erp", "--point", "#2", "--json");
  await mount.seen(/uri/);
  await appendFile(config, "retention: {pointsMax: 3}\n");
  await using running = startAfterimage("run", config);
  await running.seen(/sealed #9/);
  expect((await points()).map((point) => point.sequence)).toContain(2);
  mount.child.kill("SIGINT");
  await mount.ended;
  await running.seen(/sealed #18/);
  running.child.kill("SIGINT");
  await running.ended;
  expect((await points()).length).toBeLessThanOrEqual(4);
});

test("damage is found, by verify and by the running process, with exit code 1", async () => {
  await write("data", 0, 4 * MIB, 3);
  await run("--cycles", "2");
  expect(await afterimageJson("verify", vault, "erp")).toMatchObject({ ok: true });
  const deltas = join(vault, "groups/erp/deltas");
  const [first] = (await readdir(deltas)).sort();
  const bytes = await readFile(join(deltas, first ?? ""));
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  await writeFile(join(deltas, first ?? ""), bytes);
  const found = await afterimage("verify", vault, "erp", "--json");
  expect(found.exitCode).toBe(1);
  expect(JSON.parse(found.stdout)).toMatchObject({ ok: false, pointsLost: [{ sequence: 1 }, {}] });
  await using _busy = busyGuest();
  await using running = startAfterimage("run", config);
  await running.seen(/sealed #/);
  const scrubbed = await afterimage("scrub", vault, "erp", "--rate", "1GiB");
  expect(scrubbed).toMatchObject({ exitCode: 1, stdout: expect.stringContaining(first ?? "") });
});

test("an export that is interrupted leaves nothing", async () => {
  await write("data", 0, 24 * MIB, 3);
  await run("--once");
  const out = join(host.directory, "out");
  const words = ["export", vault, "erp", "--point", "newest", "--out", out, "--format", "qcow2"];
  await using exporting = startAfterimage(...words);
  await exporting.seen(/writing/);
  exporting.child.kill("SIGINT");
  const ended = await exporting.ended;
  if (ended.exitCode === 0) return; // It was faster than the signal.
  expect(ended.stderr).toMatch(/afterimage: ABORTED: interrupted — /);
  expect(await readdir(join(out, "db"))).toEqual([]);
});

test("a list that nobody reads to its end is no error", async () => {
  await run("--once");
  const shell = spawn("sh", ["-c", `"$0" points "$1" erp | head -c 1`, "bin/afterimage", vault], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  shell.stderr.on("data", (text: Buffer) => {
    complaint += text.toString();
  });
  await once(shell, "close");
  expect(complaint).toBe("");
});
