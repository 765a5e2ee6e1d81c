import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** A QMP command as it goes over the wire. */
export interface BareCommand {
  readonly execute: string;
  readonly arguments?: unknown;
}

interface Waiting {
  readonly event: string;
  left: number;
  readonly resolve: () => void;
}

/** The least that speaks QMP: a script's socket, no checks, no bounds. What a bare script costs is measured with it. */
export class BareQmp implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #answers: ((line: Record<string, unknown>) => void)[] = [];
  #waiting: Waiting[] = [];
  #rest = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8").on("data", (text: string) => this.#receive(text));
  }

  static async connect(path: string): Promise<BareQmp> {
    const socket = connect(path);
    await once(socket, "connect");
    const qmp = new BareQmp(socket);
    await qmp.burst([{ execute: "qmp_capabilities" }]);
    return qmp;
  }

  /** Sends all at once and waits for all answers; throws what QEMU refused. */
  async burst(commands: readonly BareCommand[]): Promise<readonly unknown[]> {
    const answered = commands.map(
      () => new Promise<Record<string, unknown>>((resolve) => this.#answers.push(resolve)),
    );
    this.#socket.write(commands.map((command) => `${JSON.stringify(command)}\n`).join(""));
    const answers = await Promise.all(answered);
    for (const answer of answers) {
      if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error));
    }
    return answers.map((answer) => answer.return);
  }

  /** Resolves after so many events of that name. Ask before the command that causes them. */
  events(event: string, count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ event, left: count, resolve });
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }

  #receive(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const message: Record<string, unknown> = JSON.parse(line);
      if (message.QMP !== undefined) continue;
      if (message.event === undefined) this.#answers.shift()?.(message);
      else if (typeof message.event === "string") this.#saw(message.event);
    }
  }

  #saw(event: string): void {
    for (const waiting of this.#waiting) {
      if (waiting.event !== event) continue;
      waiting.left -= 1;
      if (waiting.left === 0) waiting.resolve();
    }
    this.#waiting = this.#waiting.filter((waiting) => waiting.left > 0);
  }
}
