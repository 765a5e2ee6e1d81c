import type { Channel } from "../core/channel.ts";
import { encodeFrameHeader, type FrameHeader, type FrameType } from "../format/wire-frame.ts";
import { encodeHello, type Hello } from "../format/wire-hello.ts";
import { wireVersions } from "../format/wire-limits.ts";
import { FrameReader } from "./frame-reader.ts";

/** A frame as a peer by hand has received it. */
export interface RawFrame extends FrameHeader {
  readonly body: Uint8Array;
}

/** One end of a channel, spoken by hand: says what no honest peer says. */
export class RawPeer {
  readonly channel: Channel;
  readonly frames: RawFrame[] = [];
  isOver = false;

  constructor(channel: Channel) {
    this.channel = channel;
    const reader = new FrameReader({
      roomFor: ({ bodyLengthBytes }) => new Uint8Array(bodyLengthBytes),
      takesViews: () => false,
      frame: (header, body) => {
        this.frames.push({ ...header, body: new Uint8Array(body) });
        return null;
      },
    });
    channel.receive((bytes) => reader.take(bytes));
    void channel.closed.then(() => {
      this.isOver = true;
    });
  }

  /** Sends a frame; what it says of its length is true. */
  async send(
    type: FrameType,
    body: Uint8Array,
    about: {
      readonly request?: number;
      readonly stream?: number;
      readonly watermark?: number;
    } = {},
  ): Promise<void> {
    const header = encodeFrameHeader({ type, bodyLengthBytes: body.length, ...about });
    await this.channel.send([header, body]);
  }

  async hello(wish: Partial<Hello> = {}): Promise<void> {
    const session = "0123456789abcdef0123456789abcdef";
    const hello = { versions: wireVersions, session, life: null, channel: 1, ...wish };
    await this.send("hello", encodeHello(hello));
  }

  /** The frames of a type so far. */
  of(type: FrameType): readonly RawFrame[] {
    return this.frames.filter((frame) => frame.type === type);
  }
}

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
