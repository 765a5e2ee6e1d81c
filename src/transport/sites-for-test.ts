import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { seededPrng } from "../base/prng.ts";
import type { Dial, Peer } from "../core/channel.ts";
import type { Link, OpenLinkOptions } from "./link.ts";
import { linkReceiver } from "./link-receiver.ts";
import {
  type MemoryChannel,
  memoryChannelPair,
  testReplicator,
} from "./memory-channel-for-test.ts";
import { openLink } from "./open-link.ts";
import type { LinkReceiver, LinkReceiverOptions } from "./receiver.ts";

/** Two sites in one process, and every channel between them. */
export interface TestSites extends AsyncDisposable {
  readonly link: Link;
  readonly receiver: () => LinkReceiver;
  /** Both ends of every channel that is or was open. */
  readonly channels: { readonly sender: MemoryChannel; readonly receiver: MemoryChannel }[];
  /** Dialling fails from now on, or works again. */
  setReachable(isReachable: boolean): void;
  /** The vault's process dies and another begins: nothing of it is told to anybody. */
  restartReceiver(): void;
}

export interface TestSitesOptions {
  readonly openGroup: LinkReceiverOptions["openGroup"];
  readonly clock?: Clock;
  readonly seed?: number;
  readonly peer?: Peer;
  readonly pieceBytes?: number;
  /** After how many bytes the next channel is cut. */
  readonly cutAfterBytes?: () => number;
  readonly pace?: (bytes: number) => Promise<void>;
  readonly link?: Partial<OpenLinkOptions>;
  readonly receiver?: Partial<LinkReceiverOptions>;
  /** A receiver of others to connect to, instead of one's own. */
  readonly to?: LinkReceiver;
  /** Called with each pair before its ends are used. */
  readonly onPair?: (pair: { sender: MemoryChannel; receiver: MemoryChannel }) => void;
}

/** A link and a receiver, connected by channels in memory. */
export function testSites(options: TestSitesOptions): TestSites {
  const { openGroup, clock = systemClock(), seed = 1, peer = testReplicator } = options;
  const { pieceBytes = 64 * 1024 } = options;
  const prng = seededPrng(seed);
  const makeReceiver = () => linkReceiver({ openGroup, clock, prng, ...options.receiver });
  let receiver = options.to ?? makeReceiver();
  let isReachable = true;
  const channels: TestSites["channels"] = [];
  const dial: Dial = async () => {
    if (!isReachable) throw new Fault("LINK_LOST", "nobody answers");
    const cutAfterBytes = options.cutAfterBytes?.() ?? Number.POSITIVE_INFINITY;
    const pair = memoryChannelPair({
      replicator: peer,
      pieceBytes,
      cutAfterBytes,
      ...(options.pace === undefined ? {} : { pace: options.pace }),
    });
    channels.push(pair);
    options.onPair?.(pair);
    receiver.accept(pair.receiver);
    return pair.sender;
  };
  const link = openLink({ dial, clock, prng, ...options.link });
  return {
    link,
    receiver: () => receiver,
    channels,
    setReachable: (value) => {
      isReachable = value;
    },
    restartReceiver: () => {
      receiver = makeReceiver();
      for (const pair of channels) pair.sender.cut();
    },
    [Symbol.asyncDispose]: async () => {
      await link[Symbol.asyncDispose]();
      if (options.to === undefined) await receiver[Symbol.asyncDispose]();
    },
  };
}
