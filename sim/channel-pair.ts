import assert from "node:assert/strict";
import type { Clock } from "../src/base/clock.ts";
import type { Fault } from "../src/base/fault.ts";
import type { Prng } from "../src/base/prng.ts";
import type { Channel, Peer } from "../src/core/channel.ts";
import { between, happens, pick } from "./chance.ts";
import { linkLost, Pipe } from "./pipe.ts";
import type { Road } from "./road.ts";

/** One process at one end of channels. When its life is over nothing of it acts any more. */
export interface Party {
  /** As the other end sees it. */
  readonly peer: Peer;
  readonly isOver: () => boolean;
}

/** How the other end learns that a process died: its kernel closes in order, or resets, or (no kernel left) says nothing. */
export type Parting = "close" | "reset" | "silence";

const lateNoticeMsMax = 60_000;
const lateBytesMsMax = 20_000;

/** Two ends of one authenticated connection and what lies between. */
export class ChannelPair {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly ends: readonly [End, End];
  isBroken = false;

  constructor(options: {
    clock: Clock;
    prng: Prng;
    /** Who dialled, who accepted. */
    parties: readonly [Party, Party];
    roads: readonly [Road, Road];
  }) {
    const { clock, prng, parties, roads } = options;
    this.#clock = clock;
    this.#prng = prng;
    const [there, back] = roads.map((road) => new Pipe({ clock, road }));
    assert(there && back);
    const onDispose = (end: End) => this.#closeInOrder(end);
    this.ends = [
      new End({ party: parties[0], peer: parties[1].peer, out: there, into: back, onDispose }),
      new End({ party: parties[1], peer: parties[0].peer, out: back, into: there, onDispose }),
    ];
  }

  get isOver(): boolean {
    return this.ends.every((end) => end.isOver || end.party.isOver());
  }

  /** The connection breaks somewhere: of what is on the way some arrives, late; each end learns of it at its own time, or never. */
  cut(): void {
    if (this.isBroken) return;
    this.isBroken = true;
    for (const end of this.ends) {
      this.#truncate(end.out);
      const noticesInMs = pick(this.#prng, [0, 50, between(this.#prng, 0, lateNoticeMsMax), null]);
      if (noticesInMs === null) continue;
      this.#later(noticesInMs, () => end.finish(linkLost("it was cut")));
    }
  }

  /** A process is gone. */
  part(party: Party, parting: Parting): void {
    const mine = this.ends.find((end) => end.party === party);
    const other = this.ends.find((end) => end !== mine);
    assert(mine && other);
    mine.into.stop();
    if (this.isBroken) return;
    this.isBroken = true;
    if (parting === "close") {
      mine.out.end(() => other.finish(linkLost("the peer closed it")));
      other.out.cut({ keptBytes: 0, delayMs: 0 });
    } else {
      this.#truncate(mine.out);
      other.out.cut({ keptBytes: 0, delayMs: 0 });
      if (parting === "reset") this.#later(0, () => other.finish(linkLost("reset by the peer")));
    }
  }

  #truncate(pipe: Pipe): void {
    const onTheWay = pipe.onTheWayBytes;
    const keptBytes = happens(this.#prng, 0.3) ? onTheWay : this.#prng.below(onTheWay + 1);
    const delayMs = happens(this.#prng, 0.7) ? 0 : between(this.#prng, 0, lateBytesMsMax);
    pipe.cut({ keptBytes, delayMs });
  }

  #closeInOrder(end: End): void {
    const other = this.ends.find((one) => one !== end);
    assert(other);
    end.into.stop();
    if (this.isBroken) return;
    this.isBroken = true;
    end.out.end(() => other.finish(linkLost("the peer closed it")));
  }

  #later(delayMs: number, work: () => void): void {
    void this.#clock.sleep(delayMs).then(work);
  }
}

interface EndOptions {
  readonly party: Party;
  readonly peer: Peer;
  readonly out: Pipe;
  readonly into: Pipe;
  readonly onDispose: (end: End) => void;
}

/** One end of a channel. */
export class End implements Channel {
  readonly party: Party;
  readonly peer: Peer;
  readonly out: Pipe;
  readonly into: Pipe;
  readonly closed: Promise<Fault | null>;
  readonly #onDispose: (end: End) => void;
  #close: (fault: Fault | null) => void = () => {};
  isOver = false;

  constructor({ party, peer, out, into, onDispose }: EndOptions) {
    this.party = party;
    this.peer = peer;
    this.out = out;
    this.into = into;
    this.#onDispose = onDispose;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  get sentBytes(): number {
    return this.out.sentBytes;
  }

  get receivedBytes(): number {
    return this.into.receivedBytes;
  }

  async send(parts: readonly Uint8Array[]): Promise<void> {
    if (this.isOver) throw linkLost("nothing can be sent any more");
    // A process that died says nothing and hears nothing.
    if (this.party.isOver()) return new Promise(() => {});
    await this.out.send(Buffer.concat(parts));
  }

  receive(
    take: (bytes: Uint8Array) => Promise<void> | null,
    options?: { readonly isBorrowed?: boolean },
  ): void {
    const unlessOver = (bytes: Uint8Array) =>
      this.isOver || this.party.isOver() ? null : take(bytes);
    this.into.receive(unlessOver, options);
  }

  /** The channel is over, as this end sees it. */
  finish(fault: Fault | null): void {
    if (this.isOver || this.party.isOver()) return;
    this.isOver = true;
    this.into.stop();
    this.out.refuse(fault ?? linkLost("we closed it"));
    this.#close(fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isOver || this.party.isOver()) return;
    // What was sent before is still delivered.
    this.#onDispose(this);
    this.finish(null);
  }
}
