import { rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { systemClock } from "../base/clock.ts";
import { type GuardPolicy, type GuardSession, openGuardSession } from "./guard-session.ts";
import { lineSplitter } from "./line-splitter.ts";

// The barrier guard: a process of its own between afterimage and the QMP sockets of the machines that it stops together.
//
//   idle ──arm──▶ arming ──every machine said whether it runs──▶ armed ──disarm──▶ idle
//                                                                  │ │
//                                              deadline passed ────┘ └──── our parent's pipe ended
//                                                     ▼                               ▼
//                                 expired: machines resumed,           orphaned: machines resumed,
//                                 `stop` refused ──disarm──▶ idle      their answers awaited, exit
//
// Disarming resumes what is still stopped.
//
// In idle everything passes. In armed each `stop` that passes to a machine that ran is remembered until its RESUME. A client
// that goes away while its machine is stopped has it resumed at once. A machine that was paused before `arm` stays paused.
// Nothing here waits for the parent, and a `cont` is never given up: a guest that stays stopped is the one thing that must not be.
// Not promised: to survive what kills this process and its parent in one stroke, as a SIGKILL of their whole control group does.

const ordersLengthBytesMax = 4096;

interface Orders {
  readonly do: "arm" | "disarm";
  readonly deadlineMs?: number;
}

const { directory, machines } = readTask(process.argv[2]);
const sessions = new Set<GuardSession>();
const servers: Server[] = [];
let state: "idle" | "arming" | "armed" | "expired" | "orphaned" = "idle";
let deadline = new AbortController();

const policy: GuardPolicy = {
  onStop(machine) {
    if (state === "expired") return { refusal: "the barrier's deadline has passed" };
    if (state !== "armed") return "pass";
    // Told before it is relayed: should we die, our parent knows what to resume.
    say({ said: "stopping", machine });
    return "remember";
  },
  onForeignResume: (machine) => say({ said: "broken", machine }),
  onClientGone(session) {
    void session.resume().then(() => session.close());
  },
  onClosed: (session) => void sessions.delete(session),
};

// Ours to outlive: an interrupt typed at the terminal, a service manager's stop. The end of the parent's pipe ends us.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE"] as const)
  process.on(signal, () => {});
process.stdout.on("error", () => {});
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

const listening = machines.map(({ name, qmpPath, socketPath }) => {
  const server = createServer((client) => {
    sessions.add(openGuardSession({ machine: name, qmpPath, client, policy }));
  });
  servers.push(server);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(socketPath, resolve);
  return promise;
});
await Promise.all(listening);
readOrders();
say({ said: "ready" });

function readOrders(): void {
  const lines = lineSplitter(ordersLengthBytesMax);
  process.stdin.on("data", (bytes: Buffer) => {
    for (const line of lines.push(bytes)) {
      const orders: Orders = JSON.parse(line);
      if (orders.do === "arm") void arm(orders.deadlineMs ?? 0);
      else void disarm();
    }
  });
  process.stdin.on("error", () => {});
  process.stdin.on("close", () => void becomeOrphan());
}

async function arm(deadlineMs: number): Promise<void> {
  state = "arming";
  deadline = new AbortController();
  systemClock()
    .sleep(deadlineMs, { signal: deadline.signal })
    .then(expire, () => {}); // Disarmed in time.
  await Promise.all([...sessions].map((session) => session.askWhetherRunning()));
  if (state !== "arming") return;
  state = "armed";
  say({ said: "armed", machines: openMachines() });
}

async function disarm(): Promise<void> {
  deadline.abort();
  const isHeld = state === "armed";
  if (state !== "orphaned") state = "idle";
  // What our parent did not get to resume itself.
  await Promise.all([...sessions].map((session) => session.resume()));
  say({ said: "disarmed", isHeld });
}

async function expire(): Promise<void> {
  if (state === "orphaned" || state === "idle") return;
  state = "expired";
  say({ said: "expired" });
  await Promise.all([...sessions].map((session) => session.resume()));
}

async function becomeOrphan(): Promise<void> {
  state = "orphaned";
  deadline.abort();
  for (const server of servers) server.close();
  // First cut every client: a `stop` that lies unread in a socket of the dead must not pass any more.
  for (const session of sessions) session.cutClient();
  await Promise.all([...sessions].map((session) => session.resume()));
  process.exit(0);
}

function openMachines(): readonly string[] {
  return [...sessions].filter((session) => session.isOpen).map((session) => session.machine);
}

function say(message: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function readTask(text: string | undefined): {
  readonly directory: string;
  readonly machines: readonly {
    readonly name: string;
    readonly qmpPath: string;
    readonly socketPath: string;
  }[];
} {
  if (text === undefined)
    throw new Error("this program is started by afterimage, with its task as argument");
  return JSON.parse(text);
}
