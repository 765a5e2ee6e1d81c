import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { DieOrder } from "./die-at.ts";

const program = fileURLToPath(new URL("../../bin/afterimage", import.meta.url));
const dieAt = new URL("./die-at.ts", import.meta.url).href;
const linesMax = 20_000;

const lineSchema = z.looseObject({ level: z.number(), msg: z.string() });

/** A line of a server's JSON log. */
export type LogLine = z.infer<typeof lineSchema>;

/** How a server is started. */
export interface SiteProcessOptions {
  /** Words before the command, of its site. */
  readonly at: readonly string[];
  readonly words: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** A file for the order to die; no such orders when absent. */
  readonly orderPath?: string;
}

/** A running server of the product and what it said. Disposing kills it. */
export class SiteProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly lines: LogLine[] = [];
  /** What it wrote that is no line of its log: words for a person who has to act. */
  readonly words: string[] = [];
  readonly ended: Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }>;
  readonly #orderPath: string | null;
  readonly #looking = new Set<() => void>();
  #hasEnded = false;

  constructor(options: SiteProcessOptions) {
    this.#orderPath = options.orderPath ?? null;
    const command = [...options.at, "setpriv", "--pdeathsig", "KILL", program, ...options.words];
    const orders =
      options.orderPath === undefined
        ? {}
        : { DIE_AT: options.orderPath, NODE_OPTIONS: `--import ${dieAt}` };
    this.child = spawn(command[0]!, command.slice(1), {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...orders, ...options.environment },
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => this.#hear(line));
    }
    this.ended = once(this.child, "close").then(([exitCode, signal]) => {
      this.#hasEnded = true;
      for (const look of [...this.#looking]) look();
      return { exitCode, signal } as Awaited<SiteProcess["ended"]>;
    });
  }

  /** Which of the lines come next; for `seen`. */
  get mark(): number {
    return this.lines.length;
  }

  /** The first line from `mark` on that `is`; rejects when the process ends first or `timeoutMs` passes. */
  async seen(
    is: (line: LogLine) => boolean,
    { mark = 0, timeoutMs = 30_000 }: { mark?: number; timeoutMs?: number } = {},
  ): Promise<LogLine> {
    const found = Promise.withResolvers<LogLine>();
    let next = mark;
    const look = () => {
      for (; next < this.lines.length; next += 1) {
        const line = this.lines[next]!;
        if (is(line)) return found.resolve(line);
      }
      if (this.#hasEnded) found.reject(new Error(`the process ended: ${this.excerpt()}`));
    };
    const timer = setTimeout(
      () =>
        found.reject(
          new Error(`not said within ${timeoutMs} ms: ${is.toString()}\n${this.excerpt()}`),
        ),
      timeoutMs,
    );
    this.#looking.add(look);
    try {
      look();
      return await found.promise;
    } finally {
      clearTimeout(timer);
      this.#looking.delete(look);
    }
  }

  /** Kills the process when it comes there. */
  async dieAt(order: DieOrder): Promise<void> {
    if (this.#orderPath === null) throw new Error("started without an order path");
    await writeFile(this.#orderPath, JSON.stringify(order));
    this.child.kill("SIGUSR2");
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** A clean stop, as systemd asks for. */
  async stop(): Promise<number | null> {
    this.child.kill("SIGTERM");
    return (await this.ended).exitCode;
  }

  /** Its last words, for messages. */
  excerpt(): string {
    const said = this.lines.slice(-15).map((line) => JSON.stringify(line));
    return [...this.words.slice(-10), ...said].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #hear(text: string): void {
    let parsed: unknown = null;
    try {
      parsed = JSON.parse(text);
    } catch {
      // For people.
    }
    const line = lineSchema.safeParse(parsed).data;
    if (line === undefined) this.words.push(text);
    else this.lines.push(line);
    if (this.lines.length > linesMax) throw new Error("the server says too much");
    for (const look of [...this.#looking]) look();
  }
}
