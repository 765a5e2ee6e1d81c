import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { randomHex } from "../base/prng.ts";
import type { Channel, Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import { commonVersion, encodeWelcome, type Grant, type Hello } from "../format/wire-hello.ts";
import { sessionIdLengthBytes, wireVersions } from "../format/wire-limits.ts";
import { ReceiveMemory } from "./receive-memory.ts";
import type {
  LinkReceiver,
  LinkReceiverOptions,
  ReceiverEvent,
  SessionStatus,
} from "./receiver.ts";
import { type ReceiverBounds, receiverBounds } from "./receiver-bounds.ts";
import { ReceiverChannel } from "./receiver-channel.ts";
import { ReceiverGroup, takenOver } from "./receiver-group.ts";
import { ReceiverSession } from "./receiver-session.ts";

/** A vault's end of all its links. Its life begins here: whoever knew another learns that everything under way is lost. */
export function linkReceiver(options: LinkReceiverOptions): LinkReceiver {
  return new Receiver(options);
}

/** Of its grant a session may have so much in one stream: one that is stuck leaves room for the others. */
const streamShare = 3 / 4;

class Receiver implements LinkReceiver {
  readonly #options: LinkReceiverOptions;
  readonly #bounds: ReceiverBounds;
  readonly #clock: Clock;
  readonly #life: string;
  readonly #memory: ReceiveMemory;
  readonly #sessions = new Map<string, ReceiverSession>();
  readonly #channels = new Set<ReceiverChannel>();
  /** Sessions of a peer end, and groups change hands, one after the other. */
  readonly #ending = new Set<Promise<void>>();
  #isOver = false;

  constructor(options: LinkReceiverOptions) {
    this.#options = options;
    this.#bounds = { ...receiverBounds, ...options.bounds };
    this.#clock = options.clock;
    this.#life = randomHex(options.prng, sessionIdLengthBytes);
    this.#memory = new ReceiveMemory(this.#bounds.memoryBytes);
  }

  accept(channel: Channel): void {
    let session: ReceiverSession | null = null;
    const accepted = new ReceiverChannel({
      channel,
      clock: this.#clock,
      bounds: this.#bounds,
      join: (joining, hello) => {
        session = this.#join(joining, hello);
        return session;
      },
    });
    this.#channels.add(accepted);
    void accepted.closed.then((fault) => {
      this.#channels.delete(accepted);
      session?.remove(accepted);
      this.#tell({ kind: "channel-closed", peer: channel.peer, fault });
      if (session !== null && session.channelCount === 0) void this.#keepFor(session);
    });
    if (this.#isOver) accepted.end(null);
    else if (this.#channels.size > this.#bounds.channelsMax) {
      accepted.end(new Fault("LINK_LOST", "too many channels"));
    }
  }

  sessions(): readonly SessionStatus[] {
    return [...this.#sessions.values()].map((session) => ({
      session: session.id,
      peer: session.peer,
      channels: session.channelCount,
      groups: [...session.groups.keys()],
      lastHeardMs: session.lastHeardMs,
      chunkBytes: session.chunkBytes,
      repeatedBytes: session.repeatedBytes,
    }));
  }

  async disconnect(peerId: string): Promise<void> {
    const fault = new Fault("PEER_REFUSED", "the peer was revoked");
    for (const channel of [...this.#channels]) if (channel.peer.id === peerId) channel.end(fault);
    const ended = [...this.#sessions.values()].filter(({ peer }) => peer.id === peerId);
    await Promise.all(ended.map((session) => this.#end(session, fault)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    for (const channel of [...this.#channels]) channel.end(null);
    await Promise.all([...this.#sessions.values()].map((session) => this.#end(session, null)));
    await Promise.all(this.#ending);
  }

  /** Throws to refuse. */
  #join(channel: ReceiverChannel, hello: Hello): ReceiverSession {
    const { peer } = channel;
    if (peer.role !== "replicator") throw new Fault("PEER_REFUSED", "only replicators may ship");
    const version = commonVersion(this.#options.versions ?? wireVersions, hello.versions);
    const found = this.#sessions.get(hello.session);
    if (found !== undefined && found.peer.id !== peer.id) {
      throw new Fault("PEER_REFUSED", "the session is another's");
    }
    const session = found ?? this.#openSession(hello.session, peer);
    if (session.channelCount >= this.#bounds.channelsPerSessionMax) {
      throw new Fault("LINK_LOST", "too many channels of one session");
    }
    channel.number = hello.channel;
    session.add(channel);
    const welcome = {
      version,
      life: this.#life,
      isNew: found === undefined,
      channelsMax: this.#bounds.channelsPerSessionMax,
      grant: this.#grant(),
    };
    channel.send("welcome", encodeWelcome(welcome));
    this.#tell({ kind: "channel-open", peer, session: session.id });
    if (found === undefined) this.#regrant(session);
    return session;
  }

  #openSession(id: string, peer: Peer): ReceiverSession {
    if (!this.#isOver) this.#checkShare(peer);
    if (this.#isOver || this.#sessions.size >= this.#bounds.sessionsMax) {
      throw new Fault("LINK_LOST", "too many sessions");
    }
    const session = new ReceiverSession(id, peer, {
      bounds: this.#bounds,
      memory: this.#memory,
      usesThreads: this.#options.usesThreads ?? false,
      now: () => this.#clock.monotonicMs(),
      openGroup: (owner, name) => this.#openGroup(owner, name),
      onOffence: (owner, fault) => {
        this.#tell({ kind: "channel-closed", peer: owner.peer, fault });
        void this.#end(owner, fault);
      },
    });
    this.#sessions.set(id, session);
    this.#tell({ kind: "session-opened", peer, session: id });
    return session;
  }

  /** One that starts again and again leaves sessions behind: those go, and take no places of others. */
  #checkShare(peer: Peer): void {
    const own = [...this.#sessions.values()].filter((session) => session.peer.id === peer.id);
    if (own.length < this.#bounds.sessionsPerPeerMax) return;
    const left = own.find(({ channelCount }) => channelCount === 0);
    if (left === undefined) throw new Fault("LINK_LOST", "too many sessions of one replicator");
    void this.#end(left, new Fault("LINK_LOST", "the replicator began newer sessions"));
  }

  /** The grants of all sessions together are never more than the memory there is. */
  #grant(): Grant {
    const { memoryBytes, sessionBytesMax } = this.#bounds;
    const share = Math.floor(memoryBytes / Math.max(1, this.#sessions.size));
    const sessionBytes = Math.min(sessionBytesMax, share);
    return { sessionBytes, streamBytes: Math.floor(sessionBytes * streamShare) };
  }

  #regrant(except: ReceiverSession | null): void {
    const grant = this.#grant();
    for (const session of this.#sessions.values()) if (session !== except) session.grant(grant);
  }

  /** A session without channels is kept for a while. */
  async #keepFor(session: ReceiverSession): Promise<void> {
    const sinceMs = session.lastHeardMs;
    await this.#clock.sleep(this.#bounds.sessionKeptMs, { signal: session.signal }).catch(() => {}); // It ended otherwise.
    if (session.isOver || session.channelCount > 0 || session.lastHeardMs !== sinceMs) return;
    await this.#end(session, new Fault("LINK_LOST", "the session had no channel for too long"));
  }

  #end(session: ReceiverSession, fault: Fault | null): Promise<void> {
    if (this.#sessions.delete(session.id)) {
      this.#handBack(session);
      const reason = fault?.message ?? "the receiver closed";
      const { peer, id } = session;
      this.#tell({ kind: "session-ended", peer, session: id, reason });
      this.#regrant(null);
    }
    return this.#during(session.end(fault));
  }

  /** What a session took from older ones they may have again: a copy of a replicator that ran for a while leaves the first one able. */
  #handBack(ended: ReceiverSession): void {
    for (const other of this.#sessions.values()) {
      if (other.peer.id !== ended.peer.id) continue;
      for (const name of ended.groups.keys()) other.lostGroups.delete(name);
    }
  }

  #openGroup(session: ReceiverSession, name: GroupName): ReceiverGroup {
    const { peer } = session;
    const releases: Promise<void>[] = [];
    let isNewer = false;
    // In the order in which they were opened.
    for (const older of this.#sessions.values()) {
      const held = older.groups.get(name);
      if (older === session) isNewer = true;
      if (older === session || older.peer.id !== peer.id || held === undefined) continue;
      if (isNewer) {
        // The last words of a process that is gone may arrive after the first of the next one.
        session.lostGroups.add(name);
        throw takenOver(name);
      }
      older.groups.delete(name);
      older.lostGroups.add(name);
      releases.push(this.#during(held.release()));
      this.#tell({ kind: "group-taken-over", peer, group: name });
    }
    return new ReceiverGroup({
      name,
      peer,
      rivals: () => this.#rivals(session, name),
      open: async () => {
        await Promise.all(releases);
        await Promise.all(this.#ending); // An ended session may still be letting go of it.
        return await this.#options.openGroup(peer, name);
      },
    });
  }

  #rivals(session: ReceiverSession, name: GroupName): readonly ReceiverGroup[] {
    const others = [...this.#sessions.values()].filter(({ peer }) => peer.id !== session.peer.id);
    return others.flatMap((other) => other.groups.get(name) ?? []);
  }

  #during(work: Promise<void>): Promise<void> {
    const tracked: Promise<void> = work.finally(() => this.#ending.delete(tracked));
    this.#ending.add(tracked);
    return tracked;
  }

  #tell(event: ReceiverEvent): void {
    this.#options.onEvent?.(event);
  }
}
