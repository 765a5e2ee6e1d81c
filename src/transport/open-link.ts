import assert from "node:assert/strict";
import { Fault, isFault } from "../base/fault.ts";
import type { Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { LinkHealth } from "../core/link.ts";
import { wireVersions } from "../format/wire-limits.ts";
import { ClockWindow } from "./clock-window.ts";
import type { Link, LinkEvent, LinkIntake, OpenLinkOptions } from "./link.ts";
import {
  channelCountDefault,
  channelCountMax,
  type LinkBounds,
  linkBounds,
} from "./link-bounds.ts";
import { LinkChannel } from "./link-channel.ts";
import { RemoteIntake } from "./link-intake.ts";
import { LinkSession } from "./link-session.ts";

/** Opens the sender's end of the way to one vault and begins to dial; never fails by itself. */
export function openLink(options: OpenLinkOptions): Link {
  return new DialledLink(options);
}

/**
 * Keeps channels open.
 *
 *   down ──a channel is welcomed──▶ up ──no channel for `lostAfterMs`──▶ down
 */
class DialledLink implements Link {
  readonly #options: OpenLinkOptions;
  readonly #bounds: LinkBounds;
  readonly #session: LinkSession;
  readonly #window = new ClockWindow();
  readonly #closing = new AbortController();
  readonly #slots: Promise<void>[] = [];
  readonly #intakes = new Map<GroupName, RemoteIntake>();
  readonly #listeners = new Set<(health: LinkHealth) => void>();
  readonly #open = new Set<LinkChannel>();
  #sinceMs: number;
  #peer: Peer | null = null;
  #dialFault: Fault | null = null;
  #pastSentBytes = 0;
  #pastReceivedBytes = 0;
  #lossTimer: AbortController | null = null;
  #joinedWaiters: (() => void)[] = [];

  constructor(options: OpenLinkOptions) {
    const { clock, prng, channelCount = channelCountDefault, versions = wireVersions } = options;
    assert(channelCount >= 1 && channelCount <= channelCountMax, "1 to 16 channels");
    this.#options = options;
    this.#bounds = { ...linkBounds, ...options.bounds };
    this.#sinceMs = clock.monotonicMs();
    const roundTripMs = () => this.#window.roundTripMs;
    this.#session = new LinkSession({ clock, prng, bounds: this.#bounds, versions, roundTripMs });
    for (let slot = 0; slot < channelCount; slot += 1) this.#slots.push(this.#keepOpen(slot));
  }

  intake(group: GroupName): LinkIntake {
    const found = this.#intakes.get(group);
    if (found !== undefined) return found;
    const { codecOf = () => "raw" as const, usesThreads = false } = this.#options;
    const made = new RemoteIntake(this.#session, group, { codecOf, usesThreads });
    this.#intakes.set(group, made);
    return made;
  }

  health(): LinkHealth {
    const nowMs = this.#options.clock.monotonicMs();
    let sentBytes = this.#pastSentBytes;
    let receivedBytes = this.#pastReceivedBytes;
    for (const channel of this.#open) {
      sentBytes += channel.sentBytes;
      receivedBytes += channel.receivedBytes;
    }
    return {
      isUp: this.#session.isUp,
      sinceMs: this.#sinceMs,
      roundTripMs: this.#window.roundTripMs,
      bytesPerSecond: this.#session.bytesPerSecond,
      clock: this.#window.comparison(nowMs),
      sentBytes,
      receivedBytes,
      resentBytes: this.#session.sent.resentBytes,
    };
  }

  dialFault(): Fault | null {
    return this.#dialFault;
  }

  peer(): Peer | null {
    return this.#peer;
  }

  whenUp(options: { readonly signal: AbortSignal }): Promise<void> {
    if (this.#session.isUp) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { signal } = options;
    const onAbort = () => reject(signal.reason);
    const end = this.onChange((health) => {
      if (health.isUp) resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    return promise.finally(() => {
      end();
      signal.removeEventListener("abort", onAbort);
    });
  }

  onChange(listener: (health: LinkHealth) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  setCaps(caps: Parameters<Link["setCaps"]>[0]): void {
    this.#session.setCaps(caps);
  }

  groupTraffic(group: GroupName): ReturnType<Link["groupTraffic"]> {
    return this.#session.counts(group);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Fault("ABORTED", "the link was closed"));
    this.#lossTimer?.abort();
    for (const wake of this.#joinedWaiters.splice(0)) wake();
    const wasUp = this.#session.isUp;
    this.#session.down(new Fault("LINK_LOST", "the link was closed"));
    for (const channel of this.#open) channel.end(null);
    await Promise.all(this.#slots);
    if (wasUp) this.#changed();
  }

  /** One of the link's channels, opened again whenever it ends. Never rejects. */
  async #keepOpen(slot: number): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    while (!signal.aborted) {
      if (slot > 0 && !this.#session.isJoined) await this.#whenJoined();
      if (signal.aborted) return;
      const fault = await this.#once(slot).catch((error: unknown) => {
        if (isFault(error)) return error;
        if (signal.aborted) return null;
        throw error;
      });
      if (signal.aborted) return;
      failures = fault === null ? 0 : failures + 1;
      if (fault === null) continue; // It had been open: the first attempt follows at once.
      const retryInMs = this.#retryInMs(failures);
      this.#dialFault = fault;
      this.#tell({ kind: "dial-failed", fault, retryInMs });
      await this.#options.clock.sleep(retryInMs, { signal }).catch(() => {});
    }
  }

  /** Opens a channel and stays with it to its end; null when it had been open for a while, else why it came to nothing. */
  async #once(slot: number): Promise<Fault | null> {
    const { clock, dial } = this.#options;
    const { signal } = this.#closing;
    const transport = await dial({ signal });
    const session = this.#session;
    const channel = new LinkChannel({
      number: session.nextChannelNumber(),
      slot,
      channel: transport,
      clock,
      bounds: this.#bounds,
      owner: {
        onFrame: (from, header, body) => session.onFrame(from, header, body),
        onRoom: () => session.pump(),
        onPong: (sample) => this.#window.add(sample),
        watermark: () => session.watermark(),
        onSilent: () => session.distrustRate(),
        slownessMs: (outstandingBytes) => session.slownessMs(outstandingBytes),
      },
    });
    this.#open.add(channel);
    if (signal.aborted) channel.end(null);
    try {
      const hello = session.hello(channel.number);
      const welcome = await channel.join(hello);
      const openedAtMs = clock.monotonicMs();
      if (slot >= welcome.channelsMax) {
        channel.end(null);
        await channel.closed;
        return new Fault("LINK_LOST", "the vault wants fewer channels");
      }
      const wasUp = session.isUp;
      const outcome = session.joined(channel, hello, welcome);
      if (outcome === "stale") {
        channel.end(null);
        await channel.closed;
        return null;
      }
      this.#isJoined(channel, wasUp, outcome);
      const fault = await channel.closed;
      session.left(channel);
      this.#tell({ kind: "channel-closed", channel: channel.number, fault });
      const isShort = clock.monotonicMs() - openedAtMs < this.#bounds.redialMsMin;
      return isShort ? (fault ?? new Fault("LINK_LOST", "the channel ended at once")) : null;
    } finally {
      this.#open.delete(channel);
      channel.end(null);
      this.#pastSentBytes += channel.sentBytes;
      this.#pastReceivedBytes += channel.receivedBytes;
      this.#startLossTimer();
    }
  }

  #isJoined(channel: LinkChannel, wasUp: boolean, outcome: "joined" | "reset"): void {
    this.#peer = channel.peer;
    this.#dialFault = null;
    this.#lossTimer?.abort();
    this.#lossTimer = null;
    this.#tell({ kind: "channel-open", channel: channel.number, peer: channel.peer });
    for (const wake of this.#joinedWaiters.splice(0)) wake();
    if (outcome === "reset") {
      this.#tell({ kind: "link-down", fault: new Fault("LINK_RESET", "the vault began anew") });
    }
    if (wasUp && outcome === "joined") return;
    this.#sinceMs = this.#options.clock.monotonicMs();
    this.#tell({ kind: "link-up", peer: channel.peer });
    this.#changed();
  }

  #whenJoined(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#joinedWaiters.push(resolve);
    return promise;
  }

  #startLossTimer(): void {
    const session = this.#session;
    if (!session.isUp || session.channelCount > 0 || this.#lossTimer !== null) return;
    const timer = new AbortController();
    this.#lossTimer = timer;
    void this.#options.clock.sleep(this.#bounds.lostAfterMs, { signal: timer.signal }).then(
      () => this.#isLost(),
      () => {},
    );
  }

  #isLost(): void {
    this.#lossTimer = null;
    if (this.#session.channelCount > 0 || !this.#session.isUp) return;
    const why = this.#dialFault?.message ?? "every channel ended";
    const fault = new Fault("LINK_LOST", `the link to the vault is down: ${why}`);
    this.#session.down(fault);
    this.#sinceMs = this.#options.clock.monotonicMs();
    this.#tell({ kind: "link-down", fault });
    this.#changed();
  }

  #retryInMs(failures: number): number {
    const { redialMsMin, redialMsMax } = this.#bounds;
    const ceilingMs = Math.min(redialMsMax, redialMsMin * 2 ** Math.min(failures, 16));
    const spreadMs = ceilingMs - redialMsMin;
    return redialMsMin + Math.floor((this.#options.prng.below(1024) / 1024) * spreadMs);
  }

  #changed(): void {
    const health = this.health();
    for (const listener of [...this.#listeners]) listener(health);
  }

  #tell(event: LinkEvent): void {
    this.#options.onEvent?.(event);
  }
}
