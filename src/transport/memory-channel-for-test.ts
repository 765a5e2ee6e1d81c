import { Fault } from "../base/fault.ts";
import type { Channel, Peer } from "../core/channel.ts";

/** A channel in memory that a test can misuse. */
export interface MemoryChannel extends Channel {
  /** Ends both ends, as a cut cable that both notice; what is under way is lost. */
  cut(): void;
  /** From now on nothing that this end sends arrives, and nobody notices. */
  mute(): void;
}

/** Peers of a pair unless others are given: a replicator whose id is the holder of the journal's tests, and a vault. */
export const testReplicator: Peer = {
  name: "protected",
  role: "replicator",
  id: "00000000000000aa",
  address: "192.0.2.1:40000",
};
export const testVault: Peer = {
  name: "recovery",
  role: "vault",
  id: "00000000000000ff",
  address: "192.0.2.2:7443",
};

/** Bytes on their way before `send` waits. */
const underWayBytesMax = 256 * 1024;

/**
 * Two ends of one channel. What one sends arrives, copied, in pieces of at most `pieceBytes`, in later microtasks: no timers.
 */
export function memoryChannelPair(
  options: {
    readonly replicator?: Peer;
    readonly vault?: Peer;
    readonly pieceBytes?: number;
    /** The channel ends, for both, when so many bytes were sent, counted over both directions; in the middle of a frame. */
    readonly cutAfterBytes?: number;
    /** Awaited before so many bytes arrive, one piece after the other. */
    readonly pace?: (bytes: number) => Promise<void>;
  } = {},
): { readonly sender: MemoryChannel; readonly receiver: MemoryChannel } {
  const { replicator = testReplicator, vault = testVault, pieceBytes = 64 * 1024 } = options;
  const sender = new End(vault, pieceBytes);
  const receiver = new End(replicator, pieceBytes);
  const budget = { bytes: options.cutAfterBytes ?? Number.POSITIVE_INFINITY };
  sender.pace = options.pace ?? null;
  receiver.pace = options.pace ?? null;
  sender.budget = budget;
  receiver.budget = budget;
  sender.other = receiver;
  receiver.other = sender;
  return { sender, receiver };
}

class End implements MemoryChannel {
  readonly peer: Peer;
  other: End | null = null;
  budget = { bytes: Number.POSITIVE_INFINITY };
  pace: ((bytes: number) => Promise<void>) | null = null;
  #line: Promise<void> = Promise.resolve();
  sentBytes = 0;
  receivedBytes = 0;
  readonly #pieceBytes: number;
  readonly #closed = Promise.withResolvers<Fault | null>();
  #isOver = false;
  #isMute = false;
  #take: ((bytes: Uint8Array) => Promise<void> | null) | null = null;
  #arrived: Uint8Array[] = [];
  #arrivedBytes = 0;
  #isDelivering = false;
  #room: (() => void)[] = [];

  constructor(peer: Peer, pieceBytes: number) {
    this.peer = peer;
    this.#pieceBytes = pieceBytes;
  }

  get closed(): Promise<Fault | null> {
    return this.#closed.promise;
  }

  async send(parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isOver) throw lost();
    const bytes = new Uint8Array(Buffer.concat(parts));
    this.sentBytes += bytes.length;
    const other = this.other;
    if (this.#isMute || other === null) return;
    const leaves = bytes.subarray(0, Math.max(0, this.budget.bytes));
    this.budget.bytes -= bytes.length;
    for (let at = 0; at < leaves.length; at += this.#pieceBytes) {
      const piece = leaves.slice(at, at + this.#pieceBytes);
      const { pace } = this;
      if (pace === null) other.#arrive(piece);
      else {
        this.#line = this.#line.then(() => pace(piece.length)).then(() => other.#arrive(piece));
      }
    }
    if (this.budget.bytes < 0) void this.#cutWhenArrived(other);
    await this.#line;
    while (other.#arrivedBytes > underWayBytesMax && !this.#isOver) {
      await new Promise<void>((resolve) => other.#room.push(resolve));
    }
    if (this.#isOver) throw lost();
  }

  receive(take: (bytes: Uint8Array) => Promise<void> | null): void {
    this.#take = take;
    void this.#deliver();
  }

  cut(): void {
    this.endAs(lost());
    this.other?.endAs(lost());
  }

  async #cutWhenArrived(other: End): Promise<void> {
    while (other.#isDelivering) await Promise.resolve();
    this.cut();
  }

  mute(): void {
    this.#isMute = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.endAs(null);
    if (!this.#isMute) this.other?.endAs(lost());
  }

  endAs(fault: Fault | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#arrived = [];
    this.#arrivedBytes = 0;
    this.wakeSenders();
    this.other?.wakeSenders();
    this.#closed.resolve(fault);
  }

  #arrive(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.#arrived.push(bytes);
    this.#arrivedBytes += bytes.length;
    void this.#deliver();
  }

  async #deliver(): Promise<void> {
    if (this.#isDelivering || this.#take === null) return;
    this.#isDelivering = true;
    await Promise.resolve();
    for (let bytes = this.#arrived.shift(); bytes !== undefined; bytes = this.#arrived.shift()) {
      this.receivedBytes += bytes.length;
      await this.#take(bytes);
      this.#arrivedBytes = Math.max(0, this.#arrivedBytes - bytes.length);
      this.wakeSenders();
    }
    this.#isDelivering = false;
  }

  wakeSenders(): void {
    const waiting = this.#room;
    this.#room = [];
    for (const wake of waiting) wake();
  }
}

function lost(): Fault {
  return new Fault("LINK_LOST", "the channel ended");
}
