import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { abortFault } from "./abort-fault.ts";
import { lineSplitter } from "./line-splitter.ts";
import { connectQmp, type Qmp, type QmpOptions } from "./qmp.ts";

/** How long the guard process may take to start and listen. */
export const guardStartTimeoutMs = 10_000;
/** How long the guard may take to answer an order beyond the barrier's own deadline. */
export const guardAnswerTimeoutMs = 2000;
const messageLengthBytesMax = 65_536;

/**
 * Stands between us and the QMP sockets of machines that are stopped together. Should we die, hang past the deadline or lose
 * our way between `stop` and `cont`, it resumes them. Disposing resumes what is stopped and ends it.
 */
export interface Guard extends AsyncDisposable {
  /** Where to speak QMP with the machine instead of its own socket. */
  socketPathOf(machine: string): string;
  /** Connects through the guard; faults are those of the machine's own socket. */
  connect(machine: string, options: Omit<QmpOptions, "path">): Promise<Qmp>;
  /**
   * From now on, for `deadlineMs`, each `stop` that passes is remembered and undone when it must be. Machines that do not run
   * now are never resumed. Connections made later are not guarded. BARRIER_FAILED.
   */
  arm(): Promise<void>;
  /** Ends the guarded time; what is still stopped is resumed. BARRIER_FAILED when the machines did not stay stopped for as long as we believed. */
  disarm(): Promise<void>;
}

export interface GuardOptions {
  /** QMP socket of each machine. */
  readonly sockets: ReadonlyMap<string, string>;
  /** How long machines may stay stopped, in milliseconds. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

const messageSchema = z.discriminatedUnion("said", [
  z.object({ said: z.literal("ready") }),
  z.object({ said: z.literal("armed"), machines: z.array(z.string()) }),
  z.object({ said: z.literal("disarmed"), isHeld: z.boolean() }),
  z.object({ said: z.literal("expired") }),
  z.object({ said: z.literal("stopping"), machine: z.string() }),
  z.object({ said: z.literal("broken"), machine: z.string() }),
]);
type Message = z.infer<typeof messageSchema>;

/** Starts the guard process; no machine is connected yet. BARRIER_FAILED, ABORTED. */
export async function startGuard(options: GuardOptions): Promise<Guard> {
  if (options.signal.aborted) throw abortFault(options.signal, "starting the barrier guard");
  const directory = await mkdtemp(join(tmpdir(), "afterimage-guard-"));
  const machines = [...options.sockets].map(([name, qmpPath], index) => ({
    name,
    qmpPath,
    socketPath: join(directory, `${index}.qmp`),
  }));
  const program = join(import.meta.dirname, "guard-process.ts");
  // A session of its own: what kills our process group must not kill what undoes our barrier.
  const child = spawn(process.execPath, [program, JSON.stringify({ directory, machines })], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
    env: {},
  });
  const guard = new GuardHandle(child, options, directory);
  try {
    await guard.hear("ready", guardStartTimeoutMs, options.signal);
    return guard;
  } catch (error) {
    await guard[Symbol.asyncDispose]();
    throw error;
  }
}

class GuardHandle implements Guard {
  readonly #child: ChildProcess;
  readonly #options: GuardOptions;
  readonly #directory: string;
  readonly #names: readonly string[];
  readonly #ended: Promise<void>;
  readonly #waiters = new Map<Message["said"], (message: Message | Fault) => void>();
  readonly #stopping = new Set<string>();
  #isGone = false;
  #isArmed = false;
  #broken: string | null = null;

  constructor(child: ChildProcess, options: GuardOptions, directory: string) {
    this.#child = child;
    this.#options = options;
    this.#directory = directory;
    this.#names = [...options.sockets.keys()];
    const lines = lineSplitter(messageLengthBytesMax);
    child.stdin?.on("error", () => {}); // "close" follows.
    child.stdout?.on("data", (bytes: Buffer) => {
      for (const line of lines.push(bytes)) this.#receive(messageSchema.parse(JSON.parse(line)));
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = promise;
    const onEnd = () => {
      this.#isGone = true;
      const fault = new Fault("BARRIER_FAILED", "the barrier guard ended unexpectedly");
      for (const tell of this.#waiters.values()) tell(fault);
      void this.#rescue().then(resolve);
    };
    child.once("close", onEnd); // After its last words were read.
    child.once("error", () => (child.pid === undefined ? onEnd() : undefined));
  }

  socketPathOf(machine: string): string {
    const index = this.#names.indexOf(machine);
    assert(index >= 0, `the guard knows no machine ${machine}`);
    return join(this.#directory, `${index}.qmp`);
  }

  async connect(machine: string, options: Omit<QmpOptions, "path">): Promise<Qmp> {
    try {
      return await connectQmp({ ...options, path: this.socketPathOf(machine) });
    } catch (error) {
      // The relay could only hang up; the machine's own socket tells why.
      await using direct = await connectQmp({ ...options, path: this.#qmpPathOf(machine) });
      assert(direct.path !== "");
      throw error;
    }
  }

  async arm(): Promise<void> {
    assert(!this.#isArmed, "the barrier is armed already");
    this.#isArmed = true;
    this.#broken = null;
    this.#stopping.clear();
    const { deadlineMs, signal } = this.#options;
    const answered = this.hear("armed", deadlineMs + guardAnswerTimeoutMs, signal);
    this.#order({ do: "arm", deadlineMs });
    try {
      await answered;
    } catch (error) {
      this.#isArmed = false;
      this.#order({ do: "disarm" });
      throw error;
    }
  }

  async disarm(): Promise<void> {
    assert(this.#isArmed, "the barrier is not armed");
    this.#isArmed = false;
    const answered = this.hear("disarmed", guardAnswerTimeoutMs, null);
    this.#order({ do: "disarm" });
    const message = await answered;
    this.#stopping.clear();
    const isHeld = message.said === "disarmed" && message.isHeld;
    const reason =
      this.#broken ?? (isHeld ? null : "the deadline passed and the machines were resumed");
    if (reason !== null) throw new Fault("BARRIER_FAILED", reason);
  }

  /** The next message of a kind. BARRIER_FAILED when the guard ends or says nothing in time, or the deadline passes first. */
  async hear(
    said: Message["said"],
    timeoutMs: number,
    signal: AbortSignal | null,
  ): Promise<Message> {
    const { promise, resolve } = Promise.withResolvers<Message | Fault>();
    const timeout = AbortSignal.timeout(timeoutMs);
    const bound = AbortSignal.any(signal ? [timeout, signal] : [timeout]);
    const onBound = () => {
      const late = new Fault("BARRIER_FAILED", `the barrier guard was silent for ${timeoutMs} ms`);
      resolve(signal?.aborted ? abortFault(signal, "the barrier") : late);
    };
    bound.addEventListener("abort", onBound, { once: true });
    this.#waiters.set(said, resolve);
    if (bound.aborted) onBound();
    if (this.#isGone) resolve(new Fault("BARRIER_FAILED", "the barrier guard is gone"));
    try {
      const heard = await promise;
      if (heard instanceof Fault) throw heard;
      return heard;
    } finally {
      bound.removeEventListener("abort", onBound);
      this.#waiters.delete(said);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    await this.#ended;
    await rm(this.#directory, { recursive: true, force: true });
  }

  #order(orders: Readonly<Record<string, unknown>>): void {
    this.#child.stdin?.write(`${JSON.stringify(orders)}\n`);
  }

  #receive(message: Message): void {
    if (message.said === "stopping") this.#stopping.add(message.machine);
    if (message.said === "broken") this.#broken = `${message.machine} was resumed by somebody else`;
    if (message.said === "expired") {
      const fault = new Fault("BARRIER_FAILED", "a machine did not answer before the deadline");
      this.#waiters.get("armed")?.(fault);
    }
    this.#waiters.get(message.said)?.(message);
  }

  /** Should the guard itself be killed between `stop` and `cont`, we resume what it had let stop. */
  async #rescue(): Promise<void> {
    if (!this.#isArmed) return;
    for (const machine of this.#stopping) {
      try {
        await using qmp = await connectQmp({ path: this.#qmpPathOf(machine) });
        await qmp.execute("cont");
      } catch (error) {
        if (!(error instanceof Fault)) throw error; // The machine is gone as well.
      }
    }
  }

  #qmpPathOf(machine: string): string {
    const path = this.#options.sockets.get(machine);
    assert(path !== undefined, `the guard knows no machine ${machine}`);
    return path;
  }
}
