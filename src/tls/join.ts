import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { type Prng, randomHex } from "../base/prng.ts";
import { fingerprintOf, makeRequest } from "./certificates.ts";
import { secureContextOf } from "./dial.ts";
import { callEnrolment } from "./enrol-client.ts";
import type { EnrolAnswer } from "./enrolment-messages.ts";
import type { SiteAddress } from "./identity.ts";
import {
  type JoiningRecord,
  type ReplicatorRecord,
  readJoiningRecord,
  readReplicatorRecord,
  removeJoiningRecord,
  writeJoiningRecord,
  writeReplicatorRecord,
} from "./replicator-state.ts";
import { decodeToken, type Invitation } from "./token.ts";

/** What joining a vault takes. */
export interface JoinOptions {
  readonly token: string;
  /** The replicator's state directory; made when it is not there. */
  readonly directory: string;
  /** Leave the vault that this directory has joined, for another one. */
  readonly replaces?: boolean;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly signal: AbortSignal;
}

/**
 * Uses an invitation: makes a key, which stays here, has the vault sign for it, and keeps who we are now. May be repeated after a
 * kill at any line. Rejects with TOKEN_INVALID (damaged, or the vault refuses it), LINK_LOST (nobody there), PEER_REFUSED (somebody
 * else there), USAGE (joined to another vault already).
 */
export async function joinVault(options: JoinOptions): Promise<ReplicatorRecord> {
  const { files, directory, token } = options;
  const invitation = decodeToken(token);
  const held = await readReplicatorRecord(files, directory);
  if (held !== null && held.invitation === invitation.id) {
    // Killed behind the last line that matters, or simply asked twice: it was done.
    await removeJoiningRecord(files, directory);
    return held;
  }
  refuseSecondVault(held, invitation, options);
  await files.makeDirectory(directory, { isPrivate: true });
  await files.syncDirectory(dirname(directory));
  const joining = await beginJoining(options, invitation, held);
  const answer = await askInTurn(invitation, joining, options);
  const record: ReplicatorRecord = {
    id: joining.id,
    name: answer.name,
    vaultId: answer.vaultId,
    invitation: invitation.id,
    addresses: [...invitation.addresses],
    privateKeyPem: joining.privateKeyPem,
    certificatePem: answer.certificatePem,
    authorityPem: answer.authorityPem,
  };
  await writeReplicatorRecord(files, directory, record);
  await removeJoiningRecord(files, directory);
  return record;
}

function refuseSecondVault(
  held: ReplicatorRecord | null,
  invitation: Invitation,
  { directory, replaces = false }: JoinOptions,
): void {
  if (held === null || replaces) return;
  if (fingerprintOf(held.authorityPem) === invitation.fingerprint) return;
  const message = `${directory} has joined the vault ${held.vaultId}; say --replace to leave it`;
  throw new Fault("USAGE", message, { directory, vaultId: held.vaultId });
}

/** The key is kept before the vault hears of it: when we are killed before its answer, the same key asks again. */
async function beginJoining(
  { files, directory, prng }: JoinOptions,
  invitation: Invitation,
  held: ReplicatorRecord | null,
): Promise<JoiningRecord> {
  const begun = await readJoiningRecord(files, directory);
  if (begun !== null && begun.invitation === invitation.id) return begun;
  const id = held?.id ?? begun?.id ?? randomHex(prng, 8);
  const { privateKeyPem, requestDer } = await makeRequest(`replicator ${id}`);
  const request = Buffer.from(requestDer).toString("base64");
  const joining = { id, invitation: invitation.id, privateKeyPem, request };
  await writeJoiningRecord(files, directory, joining);
  return joining;
}

async function askInTurn(
  invitation: Invitation,
  joining: JoiningRecord,
  options: JoinOptions,
): Promise<EnrolAnswer> {
  const failures: unknown[] = [];
  for (const address of invitation.addresses) {
    try {
      const answer = await ask(address, invitation, joining, options);
      if (answer !== null) return answer;
      const message =
        "the vault closed without an answer: its log says why if it refused the token";
      throw new Fault("TOKEN_INVALID", message, { invitation: invitation.id });
    } catch (error) {
      // At another address there may be somebody.
      if (!isFault(error, "LINK_LOST", "PEER_REFUSED")) throw error;
      failures.push(error);
    }
  }
  throw failures.find((error) => isFault(error, "PEER_REFUSED")) ?? failures[0];
}

async function ask(
  address: SiteAddress,
  { fingerprint, id, secret }: Invitation,
  joining: JoiningRecord,
  { clock, signal }: JoinOptions,
): Promise<EnrolAnswer | null> {
  const secretHex = Buffer.from(secret).toString("hex");
  return await callEnrolment({
    address,
    fingerprint,
    secureContext: secureContextOf(null),
    request: {
      ask: "join",
      invitation: id,
      secret: secretHex,
      id: joining.id,
      request: joining.request,
    },
    clock,
    signal,
  });
}
