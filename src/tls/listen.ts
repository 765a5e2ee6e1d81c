import net from "node:net";
import type { SecureContext } from "node:tls";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { Channel, Peer } from "../core/channel.ts";
import { type Admitted, admit, Refusal } from "./admission.ts";
import { type TlsChannel, tlsChannel } from "./channel.ts";
import { checkCertificate } from "./check-certificate.ts";
import { ContextCache } from "./dial.ts";
import { type EnrolmentHandler, serveEnrolment } from "./enrolment-exchange.ts";
import {
  type CertificateHolder,
  type CurrentIdentity,
  formatSiteAddress,
  type SiteAddress,
  type TlsTrust,
} from "./identity.ts";
import { RefusalLog, type RefusedPeer } from "./refusal-log.ts";
import {
  defaultListenerLimits,
  enrolProtocol,
  keepAliveMs,
  linkProtocol,
  type TlsListenerLimits,
} from "./tls-limits.ts";

/** What a listener takes. */
export interface TlsListenOptions {
  /** An address of this host, or of all its interfaces ("::"). */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Asked anew for every connection, so that a renewed certificate is used from then on. */
  readonly identity: CurrentIdentity;
  readonly trust: TlsTrust;
  /** Asked at each handshake, and again every `recheckMs` while a channel stands. */
  readonly isRevoked: (holder: CertificateHolder) => boolean;
  /** Owns the channel. Called in the turn of the event loop in which the channel begins. */
  readonly onChannel: (channel: Channel) => void;
  /** Hears of every refusal, but of a flood of them only the number. */
  readonly onRefused: (refused: RefusedPeer) => void;
  /** Answers those who ask for certificates; nobody may when left out. */
  readonly enrolment?: EnrolmentHandler;
  readonly clock: Clock;
  readonly limits?: Partial<TlsListenerLimits>;
}

/** A vault's listener. Disposing stops accepting and ends every channel. */
export interface TlsListener extends AsyncDisposable {
  readonly address: SiteAddress;
  readonly channelCount: number;
  /** Ends all channels of the replicator at once, and says how many there were. For after it was revoked. */
  cut(name: string): number;
}

/** Listens for replicators. Rejects with USAGE (port in use, no such address) or STORAGE_DENIED. */
export async function listenTls(options: TlsListenOptions): Promise<TlsListener> {
  const listener = new Listener(options);
  await listener.listen();
  return listener;
}

interface Live {
  readonly channel: TlsChannel;
  readonly holder: CertificateHolder;
}

/**
 * A connection's way:
 *
 *   accepted ──▶ handshake ──▶ certificate checked ──▶ channel ──▶ over (by itself, cut, expired, revoked)
 *      └─ too many ─┴─ Refusal ─────┴─ refused: closed without a byte, the same for every reason
 */
class Listener implements TlsListener {
  readonly #options: TlsListenOptions;
  readonly #limits: TlsListenerLimits;
  readonly #server: net.Server;
  readonly #contexts = new ContextCache();
  readonly #refusals: RefusalLog;
  readonly #closing = new AbortController();
  readonly #live = new Set<Live>();
  /** Connections under way, counted by the peer's host. */
  readonly #handshakes = new Map<string, number>();
  readonly #underWay = new Set<Promise<void>>();
  #handshakeCount = 0;
  #address: SiteAddress;

  constructor(options: TlsListenOptions) {
    this.#options = options;
    this.#limits = { ...defaultListenerLimits, ...options.limits };
    this.#refusals = new RefusalLog(options.clock, options.onRefused);
    this.#address = { host: options.host, port: options.port };
    this.#server = net.createServer({ noDelay: true }, (raw) => this.#accept(raw));
  }

  get address(): SiteAddress {
    return this.#address;
  }

  get channelCount(): number {
    return this.#live.size;
  }

  async listen(): Promise<void> {
    const { host, port } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", (error) => reject(listenFault(error, { host, port })));
    this.#server.listen({ host, port }, resolve);
    await promise;
    const bound = this.#server.address();
    if (typeof bound === "object" && bound !== null) {
      this.#address = { host: bound.address, port: bound.port };
    }
    this.#recheck().catch(() => {}); // The sleep ends with the listener.
  }

  cut(name: string): number {
    const cut = [...this.#live].filter(({ holder }) => holder.name === name);
    for (const { channel } of cut) this.#cutOne(channel, "was revoked");
    return cut.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stopped = Promise.withResolvers<void>();
    this.#server.close(() => stopped.resolve());
    this.#closing.abort();
    await Promise.all([...this.#live].map(({ channel }) => channel[Symbol.asyncDispose]()));
    await Promise.all(this.#underWay);
    await stopped.promise;
  }

  #accept(raw: net.Socket): void {
    const host = raw.remoteAddress ?? "";
    const address = formatSiteAddress({ host, port: raw.remotePort ?? 0 });
    const ofHost = this.#handshakes.get(host) ?? 0;
    const { handshakesMax, handshakesPerAddressMax } = this.#limits;
    if (this.#handshakeCount >= handshakesMax || ofHost >= handshakesPerAddressMax) {
      raw.on("error", () => {}); // It is being closed.
      raw.destroy();
      this.#refuse(address, "too many connections in their handshake");
      return;
    }
    this.#handshakes.set(host, ofHost + 1);
    this.#handshakeCount += 1;
    const served = this.#serve(raw, address).finally(() => {
      this.#underWay.delete(served);
      this.#handshakeCount -= 1;
      const left = (this.#handshakes.get(host) ?? 1) - 1;
      if (left === 0) this.#handshakes.delete(host);
      else this.#handshakes.set(host, left);
    });
    this.#underWay.add(served);
  }

  /** Never rejects but for a bug of ours. */
  async #serve(raw: net.Socket, address: string): Promise<void> {
    const { clock, enrolment } = this.#options;
    const { handshakeMs } = this.#limits;
    raw.setKeepAlive(true, keepAliveMs);
    try {
      const admitted = await admit(raw, {
        protocols: enrolment === undefined ? [linkProtocol] : [linkProtocol, enrolProtocol],
        secureContext: this.#secureContext(),
        clock,
        handshakeMs,
        signal: this.#closing.signal,
      });
      if (admitted.protocol === linkProtocol) this.#begin(admitted, address);
      else if (enrolment !== undefined) await this.#enrol(admitted, address, enrolment);
    } catch (error) {
      raw.destroy();
      // An enrolment that could not be stored is refused like any other; the log has the reason.
      if (!(error instanceof Refusal || isFault(error))) throw error;
      if (!this.#closing.signal.aborted) this.#refuse(address, error.message, claimOf(error));
    }
  }

  #secureContext(): SecureContext {
    return this.#contexts.of(this.#options.identity());
  }

  #begin({ socket, raw }: Admitted, address: string): void {
    const { clock, onChannel } = this.#options;
    const certificate = socket.getPeerX509Certificate();
    const holder = this.#believed(certificate, ["replicator"]);
    const { channelsMax, channelsPerPeerMax } = this.#limits;
    const ofPeer = [...this.#live].filter((live) => live.holder.id === holder.id).length;
    if (this.#live.size >= channelsMax || ofPeer >= channelsPerPeerMax) {
      throw new PeerRefusal("too many channels", holder);
    }
    const peer: Peer = { name: holder.name, role: "replicator", id: holder.id, address };
    const channel = tlsChannel({ socket, raw, peer, clock });
    const live = { channel, holder };
    this.#live.add(live);
    void channel.closed.then(() => this.#live.delete(live));
    onChannel(channel);
  }

  async #enrol(admitted: Admitted, address: string, enrolment: EnrolmentHandler): Promise<void> {
    const { clock } = this.#options;
    const certificate = admitted.socket.getPeerX509Certificate();
    // Joining has none yet; renewing shows the one that is to be renewed.
    const holder = certificate === undefined ? null : this.#believed(certificate, ["replicator"]);
    const { handshakeMs } = this.#limits;
    const { signal } = this.#closing;
    const refusal = await serveEnrolment(admitted, {
      address,
      holder,
      handler: enrolment,
      clock,
      exchangeMs: handshakeMs,
      signal,
    });
    if (refusal !== null) throw new PeerRefusal(refusal, holder);
  }

  #believed(
    certificate: Parameters<typeof checkCertificate>[0],
    roles: Parameters<typeof checkCertificate>[1]["roles"],
  ): CertificateHolder {
    const { trust, clock, isRevoked } = this.#options;
    const verdict = checkCertificate(certificate, { trust, roles, nowMs: clock.nowMs() });
    if (verdict.refusal !== null) throw new PeerRefusal(verdict.refusal, verdict.holder);
    if (isRevoked(verdict.holder)) throw new PeerRefusal("a revoked certificate", verdict.holder);
    return verdict.holder;
  }

  /** Certificates end while their channels stand: those are cut, and come back with a renewed one. */
  async #recheck(): Promise<void> {
    const { clock, isRevoked } = this.#options;
    for (;;) {
      await clock.sleep(this.#limits.recheckMs, { signal: this.#closing.signal });
      this.#refusals.flush();
      const nowMs = clock.nowMs();
      for (const { channel, holder } of [...this.#live]) {
        if (nowMs >= holder.notAfterMs) this.#cutOne(channel, "let its certificate expire");
        else if (isRevoked(holder)) this.#cutOne(channel, "was revoked");
      }
    }
  }

  #cutOne(channel: TlsChannel, what: string): void {
    const { name, address } = channel.peer;
    const message = `replicator ${name} ${what}`;
    channel.cut(new Fault("PEER_REFUSED", message, { name, address }));
    this.#refuse(address, `a channel was cut: ${message}`, name);
  }

  #refuse(address: string, reason: string, claimed: string | null = null): void {
    const host = address.slice(0, address.lastIndexOf(":"));
    this.#refusals.note(host, { address, reason, claimed });
  }
}

/** A refusal of somebody whose certificate our authority made. */
class PeerRefusal extends Refusal {
  readonly claimed: string | null;

  constructor(reason: string, holder: CertificateHolder | null) {
    super(reason);
    this.claimed = holder?.name ?? null;
  }
}

function claimOf(refusal: Error): string | null {
  return refusal instanceof PeerRefusal ? refusal.claimed : null;
}

function listenFault(error: NodeJS.ErrnoException, at: SiteAddress): Fault {
  const reason = error.code ?? error.message;
  const code = reason === "EACCES" || reason === "EPERM" ? "STORAGE_DENIED" : "USAGE";
  const listen = formatSiteAddress(at);
  const message = `cannot listen on ${listen}: ${reason}`;
  return new Fault(code, message, { listen, reason }, { cause: error });
}
