import { createHash, timingSafeEqual } from "node:crypto";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import { tlsLayout } from "./authority-store.ts";
import { type Authority, certificateMs, provenKey, signCertificate } from "./certificates.ts";
import type { Applicant, EnrolmentAnswer, EnrolmentHandler } from "./enrolment-exchange.ts";
import { type EnrolAnswer, type EnrolRequest, enrolRequestSchema } from "./enrolment-messages.ts";
import {
  type EnrolmentState,
  readEnrolmentState,
  type StoredHolder,
  type StoredInvitation,
  writeEnrolmentState,
} from "./enrolment-state.ts";
import { GuessLimiter } from "./guess-limiter.ts";
import { type CertificateHolder, isHolderName, type SiteAddress } from "./identity.ts";
import { revokeReader } from "./readers.ts";
import { encodeToken, hashSecret, secretBytes } from "./token.ts";

/** An invitation lasts so long when nobody says otherwise. */
export const invitationMsDefault = 3_600_000;
/** Invitations that are neither used nor expired. */
const invitationsMax = 1000;
/** A used or expired one is remembered so long, so that the log can say what was wrong with it. */
const rememberedMs = 86_400_000;
/** Certificates of one replicator that are believed; renewing more often forgets the oldest. */
const certificatesMax = 8;

/** What keeping enrolments takes. */
export interface EnrolmentStoreOptions {
  readonly files: FileSystem;
  readonly vaultDirectory: string;
  readonly vaultId: string;
  readonly authority: Authority;
  /** SHA-256 of the authority's certificate. */
  readonly fingerprint: string;
  readonly clock: Clock;
  readonly prng: Prng;
}

/** A replicator that is, or was, enrolled. */
export interface EnrolledHolder {
  readonly name: string;
  readonly id: string;
  readonly state: "enrolled" | "expired" | "revoked";
  readonly enrolledAtMs: number;
  /** When its newest certificate ends; null when none is believed. */
  readonly notAfterMs: number | null;
}

/**
 * Who may connect to a vault. One process at a time keeps it: the one that holds the vault's writer lock. An invitation's way:
 *
 *   made ──right secret, key proven──▶ used (the same key gets the same answer again) ──▶ forgotten
 *     └── expired ─────────────────────────────────────────────────────────────────────────┘
 */
export interface EnrolmentStore {
  /** Makes a one-time invitation. The token holds its secret, which is nowhere else. USAGE for a name that is none. */
  invite(options: InviteOptions): Promise<{ readonly token: string; readonly expiresAtMs: number }>;
  /** Believes no certificate of that name any more, and forgets its open invitations. Resolves when that is durable; false when there is no such name. */
  revoke(name: string): Promise<boolean>;
  readonly isRevoked: (holder: CertificateHolder) => boolean;
  holders(): readonly EnrolledHolder[];
  /** For `listenTls`. */
  readonly answer: EnrolmentHandler;
}

/** What an invitation takes. */
export interface InviteOptions {
  readonly name: string;
  /** Where replicators reach the vault. */
  readonly addresses: readonly SiteAddress[];
  readonly expiresMs?: number;
  /** Lets another replicator take the name; without it only the one that has it may join again. */
  readonly replaces?: boolean;
}

/** Opens the store; makes the directory when there is none. */
export async function openEnrolmentStore(options: EnrolmentStoreOptions): Promise<EnrolmentStore> {
  const { directory, enrolment } = tlsLayout(options.vaultDirectory);
  await options.files.makeDirectory(directory);
  await options.files.syncDirectory(dirname(directory));
  return new DirectoryStore(options, await readEnrolmentState(options.files, enrolment));
}

class DirectoryStore implements EnrolmentStore {
  readonly #options: EnrolmentStoreOptions;
  readonly #path: string;
  readonly #limiter: GuessLimiter;
  #state: EnrolmentState;
  /** Changes happen one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: EnrolmentStoreOptions, state: EnrolmentState) {
    this.#options = options;
    this.#path = tlsLayout(options.vaultDirectory).enrolment;
    this.#limiter = new GuessLimiter(options.clock);
    this.#state = state;
  }

  async invite(
    options: InviteOptions,
  ): Promise<{ readonly token: string; readonly expiresAtMs: number }> {
    const { name, addresses, expiresMs = invitationMsDefault, replaces = false } = options;
    if (!isHolderName(name))
      throw new Fault("USAGE", `"${name}" is no replicator's name`, { name });
    const { prng, clock, fingerprint } = this.#options;
    const secret = new Uint8Array(secretBytes);
    prng.fill(secret);
    const id = randomHex(prng, 8);
    const expiresAtMs = Math.floor(clock.nowMs() + expiresMs);
    await this.#inTurn(async () => {
      const invitations = this.#remembered();
      if (invitations.filter(({ used }) => used === null).length >= invitationsMax) {
        const message = `there are ${invitationsMax} invitations that nobody used`;
        throw new Fault("USAGE", message, { invitationsMax });
      }
      const secretHash = hashSecret(secret).toString("hex");
      const made = { id, name, secretHash, replaces, expiresAtMs, used: null };
      await this.#write({ ...this.#state, invitations: [...invitations, made] });
    });
    return { token: encodeToken({ addresses, fingerprint, id, secret }), expiresAtMs };
  }

  async revoke(name: string): Promise<boolean> {
    return await this.#inTurn(async () => {
      const { files, vaultDirectory } = this.#options;
      const isReader = await revokeReader(files, vaultDirectory, name);
      const isKnown = this.#state.holders.some((holder) => holder.name === name);
      const invitations = this.#state.invitations.filter((invitation) => invitation.name !== name);
      const hadNone = invitations.length === this.#state.invitations.length;
      if (!isKnown && hadNone) return isReader;
      const revokedAtMs = Math.floor(this.#options.clock.nowMs());
      const holders = this.#state.holders.map((holder) =>
        holder.name === name ? { ...holder, revokedAtMs, certificates: [] } : holder,
      );
      await this.#write({ invitations, holders });
      return true;
    });
  }

  readonly isRevoked = (holder: CertificateHolder): boolean => {
    const held = this.#state.holders.find(({ id }) => id === holder.id);
    if (held === undefined || held.name !== holder.name || held.revokedAtMs !== null) return true;
    return !held.certificates.some(({ serialNumber }) => serialNumber === holder.serialNumber);
  };

  holders(): readonly EnrolledHolder[] {
    const nowMs = this.#options.clock.nowMs();
    return this.#state.holders.map(({ name, id, enrolledAtMs, revokedAtMs, certificates }) => {
      const ends = certificates.map(({ notAfterMs }) => notAfterMs);
      const notAfterMs = ends.length === 0 ? null : Math.max(...ends);
      const isLive = notAfterMs !== null && notAfterMs > nowMs;
      const state = revokedAtMs !== null ? "revoked" : isLive ? "enrolled" : "expired";
      return { name, id, state, enrolledAtMs, notAfterMs };
    });
  }

  readonly answer: EnrolmentHandler = async (request, applicant) => {
    const host = applicant.address.slice(0, applicant.address.lastIndexOf(":"));
    // Whoever shows a good certificate guesses nothing, and may sit behind one address with somebody who does.
    const isKnown = applicant.holder !== null;
    if (!isKnown && !this.#limiter.isAllowed(host)) {
      return refuse("too many wrong requests of this host");
    }
    const answer = await this.#inTurn(() => this.#answer(request, applicant));
    if (!isKnown && answer.refusal !== null) this.#limiter.wrong(host);
    return answer;
  };

  async #answer(bytes: Uint8Array, { holder }: Applicant): Promise<EnrolmentAnswer> {
    const request = parseRequest(bytes);
    if (request === null) return refuse("an enrolment request that is none");
    const publicKey = await provenKey(Buffer.from(request.request, "base64"));
    if (publicKey === null) return refuse("a key that was not proven");
    if (request.ask === "join") return await this.#join(request, publicKey);
    if (holder === null) return refuse("a renewal without a certificate");
    // Decided again in its turn: it may have been revoked since the handshake.
    if (this.isRevoked(holder)) return refuse("a renewal with a revoked certificate");
    return await this.#sign({ name: holder.name, id: holder.id, publicKey, invitation: null });
  }

  async #join(
    request: Extract<EnrolRequest, { ask: "join" }>,
    publicKey: Uint8Array,
  ): Promise<EnrolmentAnswer> {
    const invitation = this.#state.invitations.find(({ id }) => id === request.invitation);
    const expected = Buffer.from(invitation?.secretHash ?? "0".repeat(64), "hex");
    // Compared even when there is no such invitation, in a time that says nothing.
    const isRight = timingSafeEqual(hashSecret(Buffer.from(request.secret, "hex")), expected);
    if (invitation === undefined) return refuse("an invitation that there is not");
    const { name } = invitation;
    if (!isRight) return refuse(`a wrong secret for the invitation of ${name}`);
    if (invitation.used !== null) {
      const isSame = invitation.used.keyHash === hashOf(publicKey);
      if (!isSame) return refuse(`the invitation of ${name}, which was used before`);
      return this.#accept(name, invitation.used.certificatePem);
    }
    if (this.#options.clock.nowMs() >= invitation.expiresAtMs) {
      return refuse(`the invitation of ${name}, which has expired`);
    }
    const held = this.#state.holders.find((other) => other.name === name);
    const isTaken = held !== undefined && held.revokedAtMs === null && held.id !== request.id;
    if (isTaken && !invitation.replaces) {
      return refuse(`${name} is enrolled with another id; invite it with --replace`);
    }
    if (this.#state.holders.some((other) => other.id === request.id && other.name !== name)) {
      return refuse(`the id of another replicator than ${name}`);
    }
    return await this.#sign({ name, id: request.id, publicKey, invitation });
  }

  /** Durable before it is answered: what the peer holds, the vault knows. */
  async #sign(wish: {
    readonly name: string;
    readonly id: string;
    readonly publicKey: Uint8Array;
    readonly invitation: StoredInvitation | null;
  }): Promise<EnrolmentAnswer> {
    const { name, id, publicKey, invitation } = wish;
    const { authority, clock, prng } = this.#options;
    const nowMs = Math.floor(clock.nowMs());
    const { certificatePem, holder } = await signCertificate(authority, publicKey, {
      holder: { role: "replicator", name, id },
      nowMs,
      validMs: certificateMs,
      prng,
    });
    const { serialNumber, notAfterMs } = holder;
    const held = this.#state.holders.find((other) => other.name === name && other.id === id);
    const earlier = (held?.certificates ?? []).filter((other) => other.notAfterMs > nowMs);
    const enrolled: StoredHolder = {
      name,
      id,
      enrolledAtMs: held?.enrolledAtMs ?? nowMs,
      revokedAtMs: null,
      certificates: [...earlier, { serialNumber, notAfterMs }].slice(-certificatesMax),
    };
    const used = { keyHash: hashOf(publicKey), certificatePem };
    await this.#write({
      invitations: this.#remembered().map((other) =>
        other.id === invitation?.id ? { ...other, used } : other,
      ),
      holders: [...this.#state.holders.filter((other) => other.name !== name), enrolled],
    });
    return this.#accept(name, certificatePem);
  }

  #accept(name: string, certificatePem: string): EnrolmentAnswer {
    const { vaultId, authority } = this.#options;
    const authorityPem = authority.certificatePem;
    const answer: EnrolAnswer = { vaultId, name, certificatePem, authorityPem };
    return { answer: Buffer.from(JSON.stringify(answer)), refusal: null };
  }

  #remembered(): readonly StoredInvitation[] {
    const nowMs = this.#options.clock.nowMs();
    return this.#state.invitations.filter(({ expiresAtMs }) => expiresAtMs + rememberedMs > nowMs);
  }

  async #write(state: EnrolmentState): Promise<void> {
    await writeEnrolmentState(this.#options.files, this.#path, state);
    this.#state = state;
  }

  async #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {}); // Whoever asked hears of it.
    return await turn;
  }
}

function parseRequest(bytes: Uint8Array): EnrolRequest | null {
  try {
    return enrolRequestSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch {
    return null; // Whatever it is, it is no request.
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function refuse(refusal: string): EnrolmentAnswer {
  return { answer: null, refusal };
}
