import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { seededPrng, systemPrng } from "../base/prng.ts";
import { openEnrolmentStore } from "./enrolment-store.ts";
import { ClockForTest, vaultIdForTest } from "./vault-for-test.ts";
import { openVaultIdentity } from "./vault-identity.ts";

const startMs = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;

function fixture() {
  const files = memoryFileSystem();
  const clock = new ClockForTest(startMs);
  let seed = 0;
  const open = (...hosts: readonly string[]) => {
    seed += 1;
    const prng = seededPrng(seed);
    const common = { files, vaultDirectory: "/vault", vaultId: vaultIdForTest, clock, prng };
    return openVaultIdentity({ ...common, hosts });
  };
  return { files, clock, open };
}

test("the certificate names the vault and every host, and stays over restarts", async () => {
  const { files, open } = fixture();
  await files.makeDirectory("/vault");
  const first = await open("vault.example", "192.0.2.7", "2001:db8::7");
  const certificate = new X509Certificate(first.current().certificatePem);
  expect(certificate.subjectAltName).toContain(`URI:urn:afterimage:vault:${vaultIdForTest}`);
  expect(certificate.checkHost("vault.example")).toBe("vault.example");
  expect(certificate.checkIP("192.0.2.7")).toBe("192.0.2.7");
  expect(certificate.checkIP("2001:db8::7")).toBe("2001:db8::7");
  // An hour before it was made: the other site's clock may be behind.
  expect(certificate.validFromDate.getTime()).toBe(startMs - 3_600_000);
  const second = await open("2001:db8::7", "vault.example");
  expect(second.current()).toEqual(first.current());
  const third = await open("vault.example", "other.example");
  expect(third.current().certificatePem).not.toBe(first.current().certificatePem);
  expect(third.fingerprint).toBe(first.fingerprint);
});

test("a certificate is made anew when a third of its life is left, at start and while it is served", async () => {
  const { files, clock, open } = fixture();
  await files.makeDirectory("/vault");
  const identity = await open("vault.example");
  const first = identity.current();
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  identity.keepFresh({ signal: stopping.signal }).catch(() => {}); // It ends with the test.
  clock.advance(19 * dayMs);
  await new Promise((go) => setImmediate(go));
  expect(identity.current()).toBe(first);
  expect((await open("vault.example")).current()).toEqual(first);
  clock.advance(2 * dayMs);
  while (identity.current() === first) await new Promise((go) => setImmediate(go));
  expect((await open("vault.example")).current()).toEqual(identity.current());
});

test("a vault that was away starts with a new certificate", async () => {
  const { files, clock, open } = fixture();
  await files.makeDirectory("/vault");
  const first = (await open("vault.example")).current();
  clock.advance(21 * dayMs);
  const second = (await open("vault.example")).current();
  expect(second.certificatePem).not.toBe(first.certificatePem);
});

test("a full disk does not end renewing", async () => {
  const { files, clock, open } = fixture();
  await files.makeDirectory("/vault");
  const identity = await open("vault.example");
  const first = identity.current();
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  const failures: unknown[] = [];
  const onFailed = (error: unknown) => failures.push(error);
  identity.keepFresh({ signal: stopping.signal, onFailed }).catch(() => {}); // It ends with the test.
  await files.removeDirectory("/vault/tls");
  clock.advance(21 * dayMs);
  while (failures.length === 0) await new Promise((go) => setImmediate(go));
  expect(failures[0]).toMatchObject({ code: "STORAGE_MISSING" });
  await files.makeDirectory("/vault/tls");
  while (clock.sleepingCount === 0) await new Promise((go) => setImmediate(go));
  clock.advance(3_600_000);
  while (identity.current() === first) await new Promise((go) => setImmediate(go));
});

test("keys and enrolments may be read by their owner alone", async () => {
  const vaultDirectory = await mkdtemp(join(tmpdir(), "afterimage-tls-"));
  onTestFinished(() => rm(vaultDirectory, { recursive: true, force: true }));
  const clock = new ClockForTest(startMs);
  const files = nodeFileSystem();
  const common = { files, vaultDirectory, vaultId: vaultIdForTest, clock, prng: systemPrng() };
  const identity = await openVaultIdentity({ ...common, hosts: ["localhost"] });
  const { authority, fingerprint } = identity;
  const store = await openEnrolmentStore({ ...common, authority, fingerprint });
  await store.invite({ name: "site-a", addresses: [{ host: "localhost", port: 1 }] });
  for (const name of ["authority.pem", "vault.pem", "enrolment.json"]) {
    const { mode } = await stat(join(vaultDirectory, "tls", name));
    expect(mode & 0o777, name).toBe(0o600);
  }
});
