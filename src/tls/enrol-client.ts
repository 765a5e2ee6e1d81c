import { X509Certificate } from "node:crypto";
import type { SecureContext } from "node:tls";
import type { Clock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { fingerprintOf } from "./certificates.ts";
import { checkCertificate } from "./check-certificate.ts";
import { connectUnchecked } from "./dial.ts";
import { frameMessage, readMessage } from "./enrolment-exchange.ts";
import { type EnrolAnswer, type EnrolRequest, enrolAnswerSchema } from "./enrolment-messages.ts";
import { formatSiteAddress, type SiteAddress } from "./identity.ts";
import { enrolProtocol } from "./tls-limits.ts";

/** What asking a vault for a certificate takes. */
export interface EnrolCall {
  readonly address: SiteAddress;
  /** SHA-256 of the authority's certificate: nobody else is told anything. */
  readonly fingerprint: string;
  /** With the certificate that is to be renewed, or nobody's. */
  readonly secureContext: SecureContext;
  readonly request: EnrolRequest;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** How long the vault may take to answer. */
const answerMs = 15_000;

/**
 * Asks once. Null when the vault closed without an answer, which is how it refuses. Rejects with LINK_LOST (nobody there, no
 * answer), PEER_REFUSED (not the vault that was pinned), or the signal's reason.
 */
export async function callEnrolment(call: EnrolCall): Promise<EnrolAnswer | null> {
  const { clock, signal } = call;
  const { socket } = await connectUnchecked({ ...call, trust: null, protocol: enrolProtocol });
  const done = new AbortController();
  const bound = AbortSignal.any([signal, done.signal]);
  const end = () => void socket.destroy();
  let isLate = false;
  clock.sleep(answerMs, { signal: bound }).then(() => {
    isLate = true;
    end();
  }, end);
  try {
    requirePinned(socket.getPeerX509Certificate(), call);
    const answered = readMessage(socket);
    socket.write(frameMessage(Buffer.from(JSON.stringify(call.request))));
    const message = await answered;
    signal.throwIfAborted();
    if (message !== null) return readAnswer(message, call);
    if (!isLate) return null;
    const address = formatSiteAddress(call.address);
    const text = `${address} did not answer within ${answerMs} ms`;
    throw new Fault("LINK_LOST", text, { address, answerMs });
  } finally {
    done.abort();
  }
}

/** The secret may only be told to the vault that the token names: its authority is pinned, whatever else anybody signed. */
function requirePinned(certificate: X509Certificate | undefined, call: EnrolCall): void {
  const authority = certificate?.issuerCertificate;
  const nowMs = call.clock.nowMs();
  const isPinned =
    authority !== undefined && fingerprintOf(authority.toString()) === call.fingerprint;
  const reason = isPinned
    ? checkCertificate(certificate, {
        trust: { authorityPem: authority.toString() },
        roles: ["vault"],
        nowMs,
      }).refusal
    : "a certificate of another authority";
  if (reason === null) return;
  const address = formatSiteAddress(call.address);
  throw new Fault("PEER_REFUSED", `${address} showed ${reason}`, { address, reason });
}

function readAnswer(message: Uint8Array, call: EnrolCall): EnrolAnswer {
  try {
    const answer = enrolAnswerSchema.parse(JSON.parse(Buffer.from(message).toString("utf8")));
    if (fingerprintOf(answer.authorityPem) !== call.fingerprint) throw new TypeError("not pinned");
    const certificate = new X509Certificate(answer.certificatePem);
    const trust = { authorityPem: answer.authorityPem };
    const nowMs = call.clock.nowMs();
    const verdict = checkCertificate(certificate, { trust, roles: ["replicator"], nowMs });
    if (verdict.refusal !== null) throw new TypeError(verdict.refusal);
    return answer;
  } catch (error) {
    const address = formatSiteAddress(call.address);
    const text = `${address} answered with something that is no certificate of ours`;
    throw new Fault("LINK_PROTOCOL", text, { address }, { cause: error });
  }
}
