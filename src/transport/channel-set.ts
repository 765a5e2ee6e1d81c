import type { LinkChannel } from "./link-channel.ts";

/** The open channels of a link, and which of them is to carry what. */
export class ChannelSet {
  readonly #channels = new Set<LinkChannel>();

  get size(): number {
    return this.#channels.size;
  }

  add(channel: LinkChannel): void {
    this.#channels.add(channel);
  }

  /** False when it was none of them. */
  delete(channel: LinkChannel): boolean {
    return this.#channels.delete(channel);
  }

  /** Takes all of them out. */
  clear(): readonly LinkChannel[] {
    const all = [...this.#channels];
    this.#channels.clear();
    return all;
  }

  /** The lowest: small requests wait behind no chunk there while there are others. */
  forCalls(): LinkChannel | null {
    let found: LinkChannel | null = null;
    for (const channel of this.#channels) {
      if (channel.isOpen && (found === null || channel.slot < found.slot)) found = channel;
    }
    return found;
  }

  /**
   * Of the others the one that owes least and has room; null when none has. On a slow link one alone carries chunks: several at a
   * time would each take too long.
   */
  forChunks(isSlow: boolean): LinkChannel | null {
    const forCalls = this.forCalls();
    const busy = isSlow ? this.#busyWithChunks(forCalls) : null;
    if (busy !== null) return busy.hasRoom ? busy : null;
    let found: LinkChannel | null = null;
    let isAlone = true;
    for (const channel of this.#channels) {
      if (channel === forCalls || !channel.isOpen) continue;
      isAlone = false;
      if (!channel.hasRoom) continue;
      if (found === null || channel.outstandingBytes < found.outstandingBytes) found = channel;
    }
    if (!isAlone) return found;
    return forCalls?.hasRoom ? forCalls : null;
  }

  #busyWithChunks(except: LinkChannel | null): LinkChannel | null {
    for (const channel of this.#channels) {
      if (channel !== except && channel.isOpen && channel.outstandingBytes > 0) return channel;
    }
    return null;
  }
}
