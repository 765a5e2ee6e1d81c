import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Clock } from "../base/clock.ts";
import {
  type AuthorityStoreOptions,
  openAuthority,
  readPemPair,
  tlsLayout,
  writePemPair,
} from "./authority-store.ts";
import { type Authority, certificateMs, fingerprintOf, issueIdentity } from "./certificates.ts";
import { checkCertificate } from "./check-certificate.ts";
import type { CurrentIdentity, TlsIdentity, TlsTrust } from "./identity.ts";

/** A certificate is renewed when this part of its life is left. */
export const renewalPart = 1 / 3;
/** How often it is looked whether the time has come. */
export const renewalCheckMs = 3_600_000;

/** Who a vault is: its authority and the certificate it shows. */
export interface VaultIdentity {
  readonly authority: Authority;
  readonly trust: TlsTrust;
  /** SHA-256 of the authority's certificate, 64 hex digits. */
  readonly fingerprint: string;
  readonly current: CurrentIdentity;
  /**
   * Renews the certificate whenever its time comes; ends with the signal's reason. Connections that stand are not touched. Tells
   * of what went wrong, and tries again: a third of the certificate's life is left for that.
   */
  keepFresh(options: {
    readonly signal: AbortSignal;
    readonly onFailed?: (error: unknown) => void;
  }): Promise<never>;
}

/** What a vault's identity takes. */
export interface VaultIdentityOptions extends AuthorityStoreOptions {
  /** Host names and IP addresses that the vault is reached at; a changed list makes a new certificate. */
  readonly hosts: readonly string[];
  /** `memory`: the certificate is not written, for a process beside the one that serves the vault. Default `kept`. */
  readonly storage?: "kept" | "memory";
}

/** Reads or makes the vault's certificate. The caller holds the vault's writer lock, but for `memory` where the authority is there. */
export async function openVaultIdentity(options: VaultIdentityOptions): Promise<VaultIdentity> {
  const { files, vaultDirectory, clock, storage = "kept" } = options;
  const authority = await openAuthority(options);
  const { vault: path } = tlsLayout(vaultDirectory);
  const issue = async (): Promise<TlsIdentity> => {
    const { identity } = await issueIdentity(authority, {
      holder: { role: "vault", name: options.vaultId, id: options.vaultId },
      hosts: options.hosts,
      nowMs: clock.nowMs(),
      validMs: certificateMs,
      prng: options.prng,
    });
    if (storage === "kept") await writePemPair(files, path, identity);
    return identity;
  };
  const held = storage === "kept" ? await readPemPair(files, path) : null;
  let identity = held !== null && isGood(held, authority, options) ? held : await issue();
  return {
    authority,
    trust: { authorityPem: authority.certificatePem },
    fingerprint: fingerprintOf(authority.certificatePem),
    current: () => identity,
    keepFresh: async ({ signal, onFailed }) => {
      for (;;) {
        await clock.sleep(renewalCheckMs, { signal });
        if (!isDue(identity.certificatePem, clock.nowMs())) continue;
        try {
          identity = await issue();
        } catch (error) {
          onFailed?.(error);
        }
      }
    },
  };
}

/** Whether it is time to renew: a third of its life is left, or it says that its time has not come (a clock was set back). */
export function isDue(certificatePem: string, nowMs: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(certificatePem);
  const startMs = validFromDate.getTime();
  const endMs = validToDate.getTime();
  return nowMs >= endMs - (endMs - startMs) * renewalPart || nowMs < startMs;
}

function isGood(
  { certificatePem }: TlsIdentity,
  authority: Authority,
  options: VaultIdentityOptions & { readonly clock: Clock },
): boolean {
  const nowMs = options.clock.nowMs();
  const certificate = new X509Certificate(certificatePem);
  const trust = { authorityPem: authority.certificatePem, vaultId: options.vaultId };
  const { refusal } = checkCertificate(certificate, { trust, roles: ["vault"], nowMs });
  const namesAll = options.hosts.every(
    (host) =>
      (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined,
  );
  return refusal === null && namesAll && !isDue(certificatePem, nowMs);
}
