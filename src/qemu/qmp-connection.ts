import type { Socket } from "node:net";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import { abortFault } from "./abort-fault.ts";
import { lineSplitter } from "./line-splitter.ts";
import type { Qmp, QmpAnswer, QmpCallOptions } from "./qmp.ts";
import {
  parseQmpMessage,
  type QmpCommand,
  type QmpEvent,
  type QmpGreeting,
  type QmpMessage,
} from "./qmp-messages.ts";

/** Longest line of a server: `query-named-block-nodes` of 64 disks with snapshots stays below 1 MiB. */
export const qmpLineLengthBytesMax = 16 * MIB;

interface Pending {
  readonly command: QmpCommand;
  settle(answer: QmpAnswer): void;
}

interface Waiter {
  onEvent(event: QmpEvent): void;
  onClosed?(fault: Fault): void;
}

/**
 * One connection:
 *
 *   connected ──greeting──▶ negotiating ──qmp_capabilities──▶ open ──▶ closed
 *       └─────────── end of stream, wrong bytes, dispose ──────────────▲
 *
 * Answers are matched by id, so that the late answer to a command that was given up is not taken for another's.
 */
export class QmpConnection implements Qmp {
  readonly path: string;
  readonly #socket: Socket;
  readonly #commandTimeoutMs: number;
  readonly #onCommand: ((command: QmpCommand) => void) | undefined;
  readonly #pending = new Map<number, Pending>();
  readonly #waiters = new Set<Waiter>();
  readonly #greeted = Promise.withResolvers<QmpGreeting>();
  readonly #gone = Promise.withResolvers<void>();
  readonly #closed = new AbortController();
  #greeting: QmpGreeting | null = null;
  #nextId = 1;

  constructor(
    socket: Socket,
    options: {
      readonly path: string;
      readonly commandTimeoutMs: number;
      readonly onCommand?: ((command: QmpCommand) => void) | undefined;
    },
  ) {
    this.path = options.path;
    this.#socket = socket;
    this.#commandTimeoutMs = options.commandTimeoutMs;
    this.#onCommand = options.onCommand;
    this.#greeted.promise.catch(() => {}); // Told to negotiate() when it asks.
    const lines = lineSplitter(qmpLineLengthBytesMax);
    socket.on("data", (bytes: Buffer) => this.#receive(bytes, lines));
    socket.on("error", (cause) =>
      this.#fail(closedFault(this.path, "the connection broke", cause)),
    );
    socket.on("close", () => {
      this.#fail(closedFault(this.path, "QEMU closed the connection"));
      this.#gone.resolve();
    });
  }

  get greeting(): QmpGreeting {
    if (this.#greeting === null) throw new Error("the connection was not negotiated");
    return this.#greeting;
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Waits for the greeting and enters command mode. */
  async negotiate(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(abortFault(signal, `the greeting of ${this.path}`));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      this.#greeting = await Promise.race([this.#greeted.promise, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      aborted.promise.catch(() => {});
    }
    await this.execute("qmp_capabilities", {}, { signal });
  }

  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: QmpCallOptions = {},
  ): Promise<unknown> {
    const [answer] = await this.executeAll([{ execute: command, arguments: args }], options);
    if (answer?.ok) return answer.value;
    throw answer?.fault ?? closedFault(this.path, "no answer");
  }

  async executeAll(
    commands: readonly QmpCommand[],
    options: QmpCallOptions = {},
  ): Promise<readonly QmpAnswer[]> {
    if (this.#closed.signal.aborted) throw this.#closed.signal.reason;
    if (options.signal?.aborted) throw abortFault(options.signal, `QMP of ${this.path}`);
    const ids: number[] = [];
    const answers = commands.map((command) => {
      const { promise, resolve } = Promise.withResolvers<QmpAnswer>();
      const id = this.#nextId++;
      ids.push(id);
      this.#pending.set(id, { command, settle: resolve });
      this.#onCommand?.(command);
      return promise;
    });
    const lines = commands.map((command, index) => encodeCommand(command, ids[index]!));
    this.#socket.write(lines.join(""));
    const what = `${commands.map((command) => command.execute).join(", ")} on ${this.path}`;
    try {
      return await this.#bounded(Promise.all(answers), what, options);
    } finally {
      for (const id of ids) this.#pending.delete(id);
    }
  }

  onEvent(listener: (event: QmpEvent) => void): Disposable {
    const waiter: Waiter = { onEvent: listener };
    this.#waiters.add(waiter);
    return { [Symbol.dispose]: () => void this.#waiters.delete(waiter) };
  }

  waitForEvent(
    predicate: (event: QmpEvent) => boolean,
    options: QmpCallOptions = {},
  ): Promise<QmpEvent> {
    const waiting = this.#waitForEvent(predicate, options);
    // The caller may fail between this call and its await; then nobody asks for the answer any more.
    waiting.catch(() => {});
    return waiting;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(closedFault(this.path, "the connection was closed by us"));
    await this.#gone.promise;
  }

  async #waitForEvent(
    predicate: (event: QmpEvent) => boolean,
    options: QmpCallOptions,
  ): Promise<QmpEvent> {
    if (this.#closed.signal.aborted) throw this.#closed.signal.reason;
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    const waiter: Waiter = {
      onEvent: (event) => (predicate(event) ? resolve(event) : undefined),
      onClosed: reject,
    };
    this.#waiters.add(waiter);
    try {
      return await this.#bounded(promise, `an event on ${this.path}`, options);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** `work`, or TIMEOUT or ABORTED, whichever comes first. */
  async #bounded<Value>(
    work: Promise<Value>,
    what: string,
    options: QmpCallOptions,
  ): Promise<Value> {
    const timeoutMs = options.timeoutMs ?? this.#commandTimeoutMs;
    const timeout = AbortSignal.timeout(timeoutMs);
    const { signal } = options;
    const late = Promise.withResolvers<never>();
    const onTimeout = () =>
      late.reject(
        new Fault("TIMEOUT", `no answer within ${timeoutMs} ms to ${what}`, { timeoutMs }),
      );
    const onAbort = () => late.reject(abortFault(signal!, what));
    timeout.addEventListener("abort", onTimeout, { once: true });
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      timeout.removeEventListener("abort", onTimeout);
      signal?.removeEventListener("abort", onAbort);
      work.catch(() => {});
      late.promise.catch(() => {});
    }
  }

  #receive(bytes: Buffer, lines: ReturnType<typeof lineSplitter>): void {
    try {
      for (const line of lines.push(bytes)) {
        if (this.#closed.signal.aborted) return;
        if (line.trim() === "") continue;
        const message = parseQmpMessage(line);
        if (message === null) throw new RangeError(`not a QMP message: ${line.slice(0, 80)}`);
        this.#dispatch(message);
      }
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      const { path } = this;
      this.#fail(new Fault("QMP_PROTOCOL", `${path}: ${cause.message}`, { path }, { cause }));
    }
  }

  #dispatch(message: QmpMessage): void {
    if (message.kind === "greeting") {
      this.#greeted.resolve(message.greeting);
      return;
    }
    if (message.kind === "event") {
      for (const waiter of [...this.#waiters]) waiter.onEvent(message.event);
      return;
    }
    const pending = message.id === null ? undefined : this.#pending.get(message.id);
    if (message.id === null || pending === undefined) return; // The late answer to a command given up.
    this.#pending.delete(message.id);
    if (message.kind === "return") {
      pending.settle({ ok: true, value: message.value });
      return;
    }
    const command = pending.command.execute;
    const details = { path: this.path, command, class: message.class, desc: message.desc };
    const fault = new Fault("QMP_REFUSED", `${command}: ${message.desc}`, details);
    pending.settle({ ok: false, fault });
  }

  #fail(fault: Fault): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(fault);
    this.#greeted.reject(fault);
    for (const pending of this.#pending.values()) pending.settle({ ok: false, fault });
    this.#pending.clear();
    for (const waiter of [...this.#waiters]) waiter.onClosed?.(fault);
    this.#waiters.clear();
    this.#socket.destroy();
  }
}

function closedFault(path: string, message: string, cause?: unknown): Fault {
  return new Fault("QMP_CLOSED", `${path}: ${message}`, { path }, { cause });
}

function encodeCommand(command: QmpCommand, id: number): string {
  return `${JSON.stringify({ execute: command.execute, arguments: command.arguments, id })}\n`;
}
