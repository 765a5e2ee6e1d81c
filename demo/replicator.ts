import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import { z } from "zod";
import { Fault } from "../src/base/fault.ts";
import type { Machine } from "../src/qemu/machine.ts";
import type { Scene } from "./scene.ts";

const afterimage = join(import.meta.dirname, "../bin/afterimage");
/** Time from the start of one cycle to the start of the next. */
export const intervalSeconds = 2;
const quitTimeoutMs = 10_000;

const cycleSchema = z.object({
  msg: z.literal("A point was sealed."),
  point: z.object({ sequence: z.number() }),
  dirtyBytes: z.number(),
  readBytes: z.number(),
  storedBytes: z.number(),
  rpoSeconds: z.number(),
  durationSeconds: z.number(),
});
const troubleSchema = z.object({ level: z.number().min(40), msg: z.string() }).loose();

/** What one cycle said of itself in the replicator's log. */
export type CycleFacts = z.infer<typeof cycleSchema>;

/** A running `afterimage run`. Disposing stops it as a person would, by an interrupt. */
export interface Replicator extends AsyncDisposable {
  readonly cycles: readonly CycleFacts[];
  /** Resolves when so many points are sealed; rejects when the replicator stops before. */
  waitForPoints(count: number, onCycle: (cycle: CycleFacts) => void): Promise<void>;
}

/** Makes a vault and starts replicating the machine into it, as an administrator would: two commands and a file. */
export async function startReplicator(scene: Scene, machine: Machine): Promise<Replicator> {
  const config = { vault: scene.vault, ...configuredGroup(scene, machine) };
  const configPath = join(scene.directory, "afterimage.yaml");
  await writeFile(configPath, stringify(config));
  await run(["vault", "init", scene.vault]);
  return new RunningReplicator(startProduct(["up", configPath, "--log", "json"]), scene);
}

/** The machine's part of a configuration. */
export function configuredGroup({ directory, group, machine: name }: Scene, machine: Machine) {
  const disks = ["root", "data", "wal"].map((disk) => ({ name: disk, node: disk }));
  return {
    intervalSeconds,
    scratch: { directory: join(directory, "scratch"), capBytes: "1GiB" },
    groups: [{ name: group, machines: [{ name, qmp: machine.qmpPath, disks }] }],
  };
}

/** Starts a server of the product, its log on stderr. Should the demo itself be killed, nothing of it stays (setpriv). */
export function startProduct(words: readonly string[]): ChildProcess {
  const all = ["--pdeathsig", "KILL", afterimage, ...words];
  return spawn("setpriv", all, { stdio: ["ignore", "ignore", "pipe"] });
}

/** Runs one command of the product to its end and resolves to its standard output. */
export async function run(words: readonly string[]): Promise<string> {
  const child = spawn(afterimage, words, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let complaint = "";
  child.stdout.on("data", (bytes: Buffer) => {
    output += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.once("close", resolve);
  child.once("error", (error) => {
    complaint += error.message;
    resolve(null);
  });
  if ((await promise) === 0) return output;
  throw new Fault("TOOL_FAILED", `afterimage ${words.join(" ")}: ${complaint.trim()}`);
}

/** Follows a replicator by its log. */
export class RunningReplicator implements Replicator {
  readonly cycles: CycleFacts[] = [];
  readonly #child: ChildProcess;
  readonly #scene: Scene;
  readonly #ended: Promise<void>;
  readonly #listeners = new Set<() => void>();
  readonly #trouble: string[] = [];
  #hasEnded = false;

  /** Owns the process. */
  constructor(child: ChildProcess, scene: Scene) {
    this.#child = child;
    this.#scene = scene;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = promise;
    child.once("close", () => {
      this.#hasEnded = true;
      resolve();
      for (const listener of [...this.#listeners]) listener();
    });
    child.once("error", (error) => this.#trouble.push(error.message));
    if (child.stderr) {
      createInterface({ input: child.stderr }).on("line", (line) => this.#hear(line));
    }
  }

  async waitForPoints(count: number, onCycle: (cycle: CycleFacts) => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let told = 0;
    const look = () => {
      for (const cycle of this.cycles.slice(told)) onCycle(cycle);
      told = this.cycles.length;
      if (told >= count) resolve();
      else if (this.#hasEnded) {
        const words = this.#trouble.join("\n") || "it said nothing";
        reject(new Fault("TOOL_FAILED", `the replicator ended after ${told} points: ${words}`));
      }
    };
    const onAbort = () => reject(this.#scene.signal.reason);
    this.#listeners.add(look);
    this.#scene.signal.addEventListener("abort", onAbort, { once: true });
    try {
      look();
      if (this.#scene.signal.aborted) onAbort();
      await promise;
    } finally {
      this.#listeners.delete(look);
      this.#scene.signal.removeEventListener("abort", onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGINT");
    const done = new AbortController();
    this.#scene.clock.sleep(quitTimeoutMs, { signal: done.signal }).then(
      () => this.#child.kill("SIGKILL"),
      () => {}, // It ended by itself.
    );
    await this.#ended;
    done.abort();
  }

  #hear(line: string): void {
    let said: unknown;
    try {
      said = JSON.parse(line);
    } catch {
      this.#trouble.push(line); // Not of its log: last words.
      return;
    }
    const cycle = cycleSchema.safeParse(said).data;
    if (cycle) this.cycles.push(cycle);
    else if (troubleSchema.safeParse(said).success) this.#trouble.push(line);
    for (const listener of [...this.#listeners]) listener();
  }
}
