import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { type Guard, startGuard } from "./guard.ts";
import { type Machine, startMachine } from "./machine.ts";
import { connectQmp, type Qmp } from "./qmp.ts";
import type { QmpEvent } from "./qmp-messages.ts";

const clock = systemClock();
const signal = AbortSignal.timeout(100_000);
/** Guests run again this soon after a SIGKILL of the parent: a promise of the design, not a guess about this host. */
const resumedWithinMs = 1000;
let directory = "";
let stack = new AsyncDisposableStack();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-guard-test-"));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  await rm(directory, { recursive: true, force: true });
});

interface Watched {
  readonly machine: Machine;
  readonly control: Qmp;
  readonly events: QmpEvent[];
  status(): Promise<unknown>;
}

async function startWatched(name: string): Promise<Watched> {
  const definition = { machineType: "q35", cpuCount: 1, memoryBytes: 128 * 2 ** 20, disks: [] };
  const common = { directory, accelerator: "tcg", clock, signal, nodes: new Map() } as const;
  const machine = stack.use(await startMachine({ ...common, name, definition }));
  const control = stack.use(await connectQmp({ path: machine.controlPath, signal }));
  const events: QmpEvent[] = [];
  control.onEvent((event) => events.push(event));
  return { machine, control, events, status: async () => control.execute("query-status") };
}

async function startGuarded(
  watched: readonly Watched[],
  deadlineMs: number,
): Promise<{ guard: Guard; clients: Qmp[] }> {
  const sockets = new Map(watched.map(({ machine }) => [machine.name, machine.qmpPath]));
  const guard = stack.use(await startGuard({ sockets, deadlineMs, signal }));
  const clients: Qmp[] = [];
  for (const name of sockets.keys()) clients.push(stack.use(await guard.connect(name, { signal })));
  return { guard, clients };
}

/** A process that stops all machines behind an armed guard, says so and hangs: what we are when we are killed. */
async function startHangingOwner(watched: readonly Watched[], deadlineMs: number) {
  const sockets = watched.map(({ machine }) => [machine.name, machine.qmpPath]);
  const script = join(directory, "owner.ts");
  await writeFile(
    script,
    `import { startGuard } from ${JSON.stringify(join(import.meta.dirname, "guard.ts"))};
     const signal = AbortSignal.timeout(100000);
     const sockets = new Map(${JSON.stringify(sockets)});
     const guard = await startGuard({ sockets, deadlineMs: ${deadlineMs}, signal });
     const clients = [];
     for (const name of sockets.keys()) clients.push(await guard.connect(name, { signal }));
     await guard.arm();
     for (const client of clients) await client.execute("stop");
     console.log("stopped");
     setInterval(() => {}, 1000);`,
  );
  const owner = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  stack.defer(async () => {
    owner.kill("SIGKILL");
    if (owner.exitCode === null && owner.signalCode === null) await once(owner, "exit");
  });
  await once(owner.stdout, "data", { signal });
  return owner;
}

async function waitForResume(watched: Watched): Promise<QmpEvent> {
  const isResume = (event: QmpEvent) => event.event === "RESUME";
  const coming = watched.control.waitForEvent(isResume, { signal, timeoutMs: 60_000 });
  coming.catch(() => {});
  return watched.events.find(isResume) ?? coming;
}

test("guests run again within a second when the parent is killed inside the barrier", async () => {
  const both = [await startWatched("one"), await startWatched("two")];
  const owner = await startHangingOwner(both, 60_000);
  for (const watched of both) expect(await watched.status()).toMatchObject({ status: "paused" });
  const killedAtMs = clock.nowMs();
  owner.kill("SIGKILL");
  for (const watched of both) {
    const { atMs } = await waitForResume(watched);
    expect(atMs).toBeGreaterThan(killedAtMs - 1);
    expect(atMs - killedAtMs).toBeLessThan(resumedWithinMs);
    expect(await watched.status()).toMatchObject({ status: "running" });
  }
});

test("guests run again at the deadline when the parent hangs inside the barrier", async () => {
  const both = [await startWatched("one"), await startWatched("two")];
  const owner = await startHangingOwner(both, 400);
  owner.kill("SIGSTOP");
  for (const watched of both) {
    const resumed = await waitForResume(watched);
    const stopped = watched.events.find((event) => event.event === "STOP");
    expect(stopped?.atMs).toBeLessThan(resumed.atMs);
    expect(await watched.status()).toMatchObject({ status: "running" });
  }
});

test("after the deadline a late stop is refused and the barrier is said to have failed", async () => {
  const one = await startWatched("one");
  const { guard, clients } = await startGuarded([one], 50);
  await guard.arm();
  await clients[0]!.execute("stop");
  await waitForResume(one);
  await expect(clients[0]!.execute("stop")).rejects.toMatchObject({ code: "QMP_REFUSED" });
  expect(await one.status()).toMatchObject({ status: "running" });
  await expect(guard.disarm()).rejects.toMatchObject({ code: "BARRIER_FAILED" });
  await guard.arm(); // And it can be used again.
});

test("a barrier that is held leaves no trace and passes everything verbatim", async () => {
  const both = [await startWatched("one"), await startWatched("two")];
  const { guard, clients } = await startGuarded(both, 30_000);
  for (let round = 0; round < 3; round += 1) {
    await guard.arm();
    await Promise.all(clients.map((client) => client.execute("stop")));
    for (const watched of both) expect(await watched.status()).toMatchObject({ status: "paused" });
    await Promise.all(clients.map((client) => client.execute("cont")));
    await guard.disarm();
  }
  for (const { events } of both) {
    expect(events.map((event) => event.event)).toEqual(Array(3).fill(["STOP", "RESUME"]).flat());
  }
  const through = await clients[0]!.execute("query-qmp-schema");
  expect(through).toEqual(await both[0]!.control.execute("query-qmp-schema"));
});

test("a machine that somebody else had paused stays paused", async () => {
  const both = [await startWatched("paused-before"), await startWatched("runs")];
  await both[0]!.control.execute("stop");
  const owner = await startHangingOwner(both, 60_000);
  owner.kill("SIGKILL");
  await waitForResume(both[1]!);
  // The guard gives the machine's socket free when it is done: nothing of it comes after this.
  await using direct = await connectQmp({ path: both[0]!.machine.qmpPath, signal });
  expect(await direct.execute("query-status")).toMatchObject({ status: "paused" });
  expect(both[0]!.events.map((event) => event.event)).toEqual(["STOP"]);
});

test("the other guests run again when one QEMU dies inside the barrier", async () => {
  const both = [await startWatched("dies"), await startWatched("lives")];
  const owner = await startHangingOwner(both, 60_000);
  await both[0]!.machine.kill();
  owner.kill("SIGKILL");
  await waitForResume(both[1]!);
  expect(await both[1]!.status()).toMatchObject({ status: "running" });
});

test("guests run again when the guard itself is killed inside the barrier", async () => {
  const one = await startWatched("one");
  const { guard, clients } = await startGuarded([one], 30_000);
  await guard.arm();
  await clients[0]!.execute("stop");
  process.kill(await childOf(process.pid, guard.socketPathOf("one")), "SIGKILL");
  await waitForResume(one);
  await expect(guard.disarm()).rejects.toMatchObject({ code: "BARRIER_FAILED" });
});

test("a guest that somebody resumes inside the barrier fails it", async () => {
  const one = await startWatched("one");
  const { guard, clients } = await startGuarded([one], 30_000);
  await guard.arm();
  await clients[0]!.execute("stop");
  await one.control.execute("cont");
  await expect(guard.disarm()).rejects.toMatchObject({
    code: "BARRIER_FAILED",
    message: expect.stringContaining("resumed by somebody else"),
  });
});

test("what is still stopped when the barrier ends is resumed", async () => {
  const one = await startWatched("one");
  const { guard, clients } = await startGuarded([one], 30_000);
  await guard.arm();
  await clients[0]!.execute("stop");
  await guard.disarm();
  expect(await one.status()).toMatchObject({ status: "running" });
});

test("a guest is resumed at once when the connection that stopped it breaks", async () => {
  const one = await startWatched("one");
  const { guard, clients } = await startGuarded([one], 30_000);
  await guard.arm();
  await clients[0]!.execute("stop");
  await clients[0]![Symbol.asyncDispose]();
  await waitForResume(one);
});

test("a machine that hangs fails the barrier before anything is stopped", async () => {
  const both = [await startWatched("hangs"), await startWatched("runs")];
  const { guard, clients } = await startGuarded(both, 200);
  process.kill(both[0]!.machine.pid, "SIGSTOP");
  await expect(guard.arm()).rejects.toMatchObject({ code: "BARRIER_FAILED" });
  process.kill(both[0]!.machine.pid, "SIGCONT");
  for (const client of clients) await client.execute("query-status");
  expect(both.flatMap(({ events }) => events)).toEqual([]);
});

test("a machine without QMP socket is named as itself, not as the guard's", async () => {
  const path = join(directory, "none.qmp");
  const sockets = new Map([["one", path]]);
  const guard = stack.use(await startGuard({ sockets, deadlineMs: 1000, signal }));
  await expect(guard.connect("one", { signal })).rejects.toMatchObject({
    code: "QMP_MISSING",
    message: expect.stringContaining(path),
  });
});

test("nothing of the guard is left when it ends", async () => {
  const one = await startWatched("one");
  const { guard } = await startGuarded([one], 1000);
  const socketPath = guard.socketPathOf("one");
  const pid = await childOf(process.pid, socketPath);
  await guard[Symbol.asyncDispose]();
  await expect(readlink(`/proc/${pid}/exe`)).rejects.toThrow();
  await expect(readdir(join(socketPath, ".."))).rejects.toThrow();
});

/** The process started by `parent` whose command line names `text`. */
async function childOf(parent: number, text: string): Promise<number> {
  const list: ChildProcess = spawn("ps", ["-o", "pid=,args=", "--ppid", String(parent), "-ww"]);
  let output = "";
  list.stdout?.on("data", (bytes: Buffer) => {
    output += bytes.toString();
  });
  await once(list, "close");
  const line = output.split("\n").find((candidate) => candidate.includes(text));
  return Number(line?.trim().split(/\s+/)[0]);
}
