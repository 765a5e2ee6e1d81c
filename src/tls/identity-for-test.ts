import { seededPrng, systemPrng } from "../base/prng.ts";
import { type Authority, certificateMs, issueIdentity, makeAuthority } from "./certificates.ts";
import type { CertificateHolder, CertificateRole, TlsIdentity, TlsTrust } from "./identity.ts";

/** An authority in memory with a vault's and a replicator's identity, for tests and benches. */
export interface IdentitiesForTest {
  readonly authority: Authority;
  readonly trust: TlsTrust;
  readonly vault: TlsIdentity;
  readonly vaultId: string;
  readonly replicator: TlsIdentity;
  readonly replicatorHolder: CertificateHolder;
  /** Another identity of the same authority. */
  issue(wish: IssueForTest): Promise<{ identity: TlsIdentity; holder: CertificateHolder }>;
}

/** What a further identity is to say; the rest is as usual. */
export interface IssueForTest {
  readonly role?: CertificateRole;
  readonly name?: string;
  readonly id?: string;
  readonly hosts?: readonly string[];
  readonly nowMs?: number;
  readonly validMs?: number;
}

const vaultId = "aaaaaaaaaaaaaaaa";

/** Makes them; `nowMs` is when their time begins. */
export async function identitiesForTest(
  options: { readonly nowMs?: number; readonly seed?: number } = {},
): Promise<IdentitiesForTest> {
  const nowMs = options.nowMs ?? Date.now();
  const prng = options.seed === undefined ? systemPrng() : seededPrng(options.seed);
  const authority = await makeAuthority({ vaultId, nowMs, prng });
  const issue = (wish: IssueForTest) => {
    const { role = "replicator", name = "site-a", id = "bbbbbbbbbbbbbbbb", ...rest } = wish;
    return issueIdentity(authority, {
      holder: { role, name: role === "vault" ? id : name, id },
      nowMs,
      validMs: certificateMs,
      prng,
      ...rest,
    });
  };
  const hosts = ["localhost", "127.0.0.1", "::1"];
  const vault = await issue({ role: "vault", id: vaultId, hosts });
  const replicator = await issue({});
  return {
    authority,
    trust: { authorityPem: authority.certificatePem },
    vault: vault.identity,
    vaultId,
    replicator: replicator.identity,
    replicatorHolder: replicator.holder,
    issue,
  };
}
