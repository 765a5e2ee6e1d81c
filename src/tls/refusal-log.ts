import type { Clock } from "../base/clock.ts";

/** A connection that was closed without a word; for the log alone. */
export interface RefusedPeer {
  /** Host and port; of several connections the host alone. */
  readonly address: string;
  readonly reason: string;
  /** Whom its certificate named, when one was shown that our authority made; not to be believed. */
  readonly claimed: string | null;
}

/** Refusals of one host that are told one by one within a window. */
const toldMax = 20;
const windowMs = 60_000;
/** Hosts told apart within a window. */
const hostsMax = 1024;
const otherHosts = "many hosts";

/** Keeps whoever floods the port from flooding the log: what is too much is counted, and told as a number. */
export class RefusalLog {
  readonly #clock: Clock;
  readonly #tell: (refused: RefusedPeer) => void;
  readonly #hosts = new Map<string, { readonly untilMs: number; count: number }>();

  constructor(clock: Clock, tell: (refused: RefusedPeer) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** A connection from `host` was refused. */
  note(host: string, refused: RefusedPeer): void {
    this.flush();
    const isKnown = this.#hosts.has(host) || this.#hosts.size < hostsMax;
    const name = isKnown ? host : otherHosts;
    const nowMs = this.#clock.monotonicMs();
    const entry = this.#hosts.get(name) ?? { untilMs: nowMs + windowMs, count: 0 };
    this.#hosts.set(name, entry);
    entry.count += 1;
    if (entry.count <= toldMax) this.#tell(refused);
  }

  /** Tells what was only counted in windows that are over. */
  flush(): void {
    const nowMs = this.#clock.monotonicMs();
    // Entries stand in the order of their ends.
    for (const [host, { untilMs, count }] of this.#hosts) {
      if (untilMs > nowMs) break;
      this.#hosts.delete(host);
      if (count <= toldMax) continue;
      const reason = `${count - toldMax} further connections were refused within a minute`;
      this.#tell({ address: host, reason, claimed: null });
    }
  }
}
