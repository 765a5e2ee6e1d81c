import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import { KIB } from "../base/units.ts";
import { type Accelerator, type BlockNode, machineArguments } from "./machine-arguments.ts";
import { type FedConsole, fedConsole, type MachineConsole } from "./machine-console.ts";
import type { MachineDefinition } from "./machine-definition.ts";
import { connectQmp } from "./qmp.ts";

/** How long QEMU may take from its start to its QMP greeting. */
export const machineStartTimeoutMs = 20_000;
/** How long QEMU may take to flush and end after it was asked to, before it is killed. */
export const machineQuitTimeoutMs = 10_000;
const qmpRetryMs = 10;
const complaintLengthMax = 4 * KIB;

/** How a machine's process ended. */
export interface MachineEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** QEMU's last words on stderr. */
  readonly complaint: string;
}

/** A running QEMU of ours. Disposing kills it; it also dies with this process, however that ends. */
export interface Machine extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** Speaks QMP to one client at a time; nobody is connected when the machine was just started. */
  readonly qmpPath: string;
  /** A second QMP socket, for who started the machine; events are told on both. */
  readonly controlPath: string;
  readonly console: MachineConsole;
  /** Resolves when the process is gone. */
  readonly ended: Promise<MachineEnd>;
  /** Ends QEMU in order (as `quit` does): images are flushed, persistent bitmaps stored. The guest is not asked. */
  quit(): Promise<MachineEnd>;
  /** SIGKILL, as a power cut; resolves when the process is gone. */
  kill(): Promise<MachineEnd>;
}

export interface MachineOptions {
  /** For messages and for the names of sockets. */
  readonly name: string;
  /** What QEMU calls itself in the host's process list; `name` when not given. */
  readonly title?: string;
  readonly definition: MachineDefinition;
  /** By the disk's name in the definition; that is also the node name where the tree gives none. */
  readonly nodes: ReadonlyMap<string, BlockNode>;
  /** A directory of the caller's for sockets; its path must be short (a unix socket's has at most 107 characters). */
  readonly directory: string;
  readonly accelerator: Accelerator;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Starts a machine and waits until its QMP answers. TOOL_MISSING, TOOL_FAILED (with QEMU's words), TIMEOUT, ABORTED. */
export async function startMachine(options: MachineOptions): Promise<Machine> {
  const { name, clock, signal } = options;
  signal.throwIfAborted();
  const qmpPath = join(options.directory, `${name}.qmp`);
  const controlPath = join(options.directory, `${name}.control`);
  const removeSockets = async () => {
    for (const path of [qmpPath, controlPath]) await rm(path, { force: true });
  };
  await removeSockets();
  // setpriv (util-linux) asks the kernel to kill QEMU when we die, even by SIGKILL.
  const program = ["--pdeathsig", "KILL", "qemu-system-x86_64"];
  const child = spawn(
    "setpriv",
    [...program, ...machineArguments({ title: name, ...options, qmpPath, controlPath })],
    {
      stdio: ["pipe", "pipe", "pipe"],
    },
  );
  const console = fedConsole({
    machine: name,
    clock,
    onType: (text) => void child.stdin.write(text),
  });
  child.stdin.on("error", () => {}); // The machine is gone; `ended` tells.
  const ended = watch(child, console);
  const machine: Machine = {
    name,
    pid: child.pid ?? 0,
    qmpPath,
    controlPath,
    console,
    ended,
    quit: () => end(child, ended, "SIGTERM", clock),
    kill: () => end(child, ended, "SIGKILL", clock),
    [Symbol.asyncDispose]: async () => {
      await end(child, ended, "SIGKILL", clock);
      await removeSockets();
    },
  };
  try {
    await waitForQmp(controlPath, ended, options);
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}

function watch(child: ChildProcess, console: FedConsole): Promise<MachineEnd> {
  let complaint = "";
  child.stdout?.on("data", (bytes: Buffer) => console.push(bytes));
  child.stderr?.on("data", (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-complaintLengthMax);
  });
  const { promise, resolve } = Promise.withResolvers<MachineEnd>();
  const finish = (exitCode: number | null, signal: NodeJS.Signals | null) => {
    console.end(`the machine ended (${signal ?? `exit code ${exitCode}`}) ${complaint}`.trimEnd());
    resolve({ exitCode, signal, complaint });
  };
  child.on("error", (error) => {
    complaint += error.message;
    if (child.pid === undefined) finish(null, null); // It never started: no "close" will come.
  });
  child.on("close", finish);
  return promise;
}

async function end(
  child: ChildProcess,
  ended: Promise<MachineEnd>,
  signal: "SIGTERM" | "SIGKILL",
  clock: Clock,
): Promise<MachineEnd> {
  child.kill(signal);
  if (signal === "SIGKILL") return ended;
  const inTime = new AbortController();
  clock.sleep(machineQuitTimeoutMs, { signal: inTime.signal }).then(
    () => child.kill("SIGKILL"),
    () => {}, // It ended by itself.
  );
  try {
    return await ended;
  } finally {
    inTime.abort();
  }
}

async function waitForQmp(
  path: string,
  ended: Promise<MachineEnd>,
  { name, clock, signal }: MachineOptions,
): Promise<void> {
  let end: MachineEnd | null = null;
  void ended.then((how) => {
    end = how;
  });
  const giveUpAtMs = clock.monotonicMs() + machineStartTimeoutMs;
  while (true) {
    try {
      await using qmp = await connectQmp({ path, signal });
      await qmp.execute("query-status", {}, { signal });
      return;
    } catch (error) {
      if (end !== null) throw startFault(name, end);
      if (!isFault(error, "QMP_MISSING", "QMP_CLOSED", "QMP_BUSY")) throw error;
      if (clock.monotonicMs() > giveUpAtMs) throw error;
      await clock.sleep(qmpRetryMs, { signal });
    }
  }
}

function startFault(name: string, end: MachineEnd): Fault {
  const isMissing = end.exitCode === 127 || end.complaint.includes("ENOENT");
  const words = end.complaint.trim() || `exit code ${end.exitCode}`;
  if (isMissing) {
    const message = `qemu-system-x86_64 is not installed (Debian: qemu-system-x86): ${words}`;
    return new Fault("TOOL_MISSING", message, { machine: name });
  }
  return new Fault("TOOL_FAILED", `QEMU did not start ${name}: ${words}`, { machine: name });
}
