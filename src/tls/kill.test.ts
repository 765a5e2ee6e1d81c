import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { KillableFiles } from "../journal/killable-files-for-test.ts";
import { makeRequest } from "./certificates.ts";
import { type EnrolmentStore, openEnrolmentStore } from "./enrolment-store.ts";
import type { CertificateHolder } from "./identity.ts";
import { joinVault } from "./join.ts";
import { openReplicatorIdentity } from "./replicator-identity.ts";
import { writeReplicatorRecord } from "./replicator-state.ts";
import { decodeToken } from "./token.ts";
import { never, vaultForTest, vaultIdForTest } from "./vault-for-test.ts";
import { openVaultIdentity } from "./vault-identity.ts";

const clock = systemClock();
const address = { host: "vault.example", port: 7420 };
const applicant = { address: "192.0.2.9:4000", holder: null };

async function openStore(files: FileSystem, seed: number) {
  const prng = seededPrng(seed);
  const common = { files, vaultDirectory: "/vault", vaultId: vaultIdForTest, clock, prng };
  const identity = await openVaultIdentity({ ...common, hosts: ["vault.example"] });
  const { authority, fingerprint } = identity;
  return { identity, store: await openEnrolmentStore({ ...common, authority, fingerprint }) };
}

/** Asks as a replicator would; null when the vault said nothing. */
async function ask(store: EnrolmentStore, token: string, request: Uint8Array) {
  const { id, secret } = decodeToken(token);
  const text = JSON.stringify({
    ask: "join",
    invitation: id,
    secret: Buffer.from(secret).toString("hex"),
    id: "eeeeeeeeeeeeeeee",
    request: Buffer.from(request).toString("base64"),
  });
  const { answer } = await store.answer(Buffer.from(text), applicant);
  return answer === null ? null : (JSON.parse(String(answer)) as { certificatePem: string });
}

test("a vault killed at any change of its files has one authority for ever, and no token counts twice", async () => {
  const key = await makeRequest("a");
  const other = await makeRequest("b");
  let total = Number.POSITIVE_INFINITY;
  for (let killAt = 1; killAt <= total; killAt += 1) {
    const memory = memoryFileSystem();
    await memory.makeDirectory("/vault");
    const killable = new KillableFiles();
    killable.killAt = killAt;
    const seen: { fingerprint?: string; token?: string; certificatePem?: string | undefined } = {};
    let isRevoked = false;
    try {
      const { identity, store } = await openStore(killable.wrap(memory), 1);
      seen.fingerprint = identity.fingerprint;
      seen.token = (await store.invite({ name: "site-a", addresses: [address] })).token;
      seen.certificatePem = (await ask(store, seen.token, key.requestDer))?.certificatePem;
      isRevoked = await store.revoke("site-a");
      total = killable.changes;
    } catch (error) {
      expect(error).toMatchObject({ code: "STORAGE_FAILED" });
    }
    const where = `killed at change ${killAt}`;
    const { identity, store } = await openStore(memory, 2);
    if (seen.fingerprint !== undefined) expect(identity.fingerprint, where).toBe(seen.fingerprint);
    const [holder] = store.holders();
    if (isRevoked) {
      expect(holder?.state, where).toBe("revoked");
      continue;
    }
    if (seen.token === undefined || holder?.state === "revoked") continue;
    // The key that may have been answered gets what it may have got; no other key gets anything then.
    const again = await ask(store, seen.token, key.requestDer);
    if (seen.certificatePem !== undefined) {
      expect(again?.certificatePem, where).toBe(seen.certificatePem);
    }
    expect(await ask(store, seen.token, other.requestDer), where).toBeNull();
    expect(store.holders().length, where).toBe(1);
  }
  expect(total).toBeGreaterThan(15);
});

test("a replicator killed at any change of its files joins with the same token and key", async () => {
  const vault = await vaultForTest({ clock });
  let total = Number.POSITIVE_INFINITY;
  for (let killAt = 1; killAt <= total; killAt += 1) {
    const name = `site-${killAt}`;
    const { token } = await vault.store.invite({ name, addresses: [vault.listener.address] });
    const memory = memoryFileSystem();
    const killable = new KillableFiles();
    killable.killAt = killAt;
    const prng = seededPrng(100 + killAt);
    const join = (files: FileSystem) =>
      joinVault({ token, directory: "/state", files, clock, prng, signal: never });
    const killed = await join(killable.wrap(memory)).catch((error: unknown) => {
      expect(error).toMatchObject({ code: "STORAGE_FAILED" });
      return null;
    });
    if (killed !== null) total = killable.changes;
    const joined = await join(memory);
    expect(joined.name).toBe(name);
    const identity = await openReplicatorIdentity({ files: memory, directory: "/state", clock });
    await using channel = await identity.dial({ signal: never });
    expect(channel.peer.id).toBe(vaultIdForTest);
    expect(vault.refused).toEqual([]);
  }
  expect(total).toBeGreaterThan(10);
});

test("a replicator killed while it keeps its renewed certificate is somebody all the same", async () => {
  const vault = await vaultForTest({ clock });
  const addresses = [vault.listener.address];
  const { token } = await vault.store.invite({ name: "site-a", addresses });
  const memory = memoryFileSystem();
  const prng = seededPrng(4);
  await joinVault({ token, directory: "/state", files: memory, clock, prng, signal: never });
  for (let killAt = 1; killAt <= 7; killAt += 1) {
    const killable = new KillableFiles();
    killable.killAt = killAt;
    const files = killable.wrap(memory);
    const identity = await openReplicatorIdentity({ files, directory: "/state", clock });
    await identity.renew({ signal: never }).catch((error: unknown) => {
      expect(error).toMatchObject({ code: "STORAGE_FAILED" });
    });
    const after = await openReplicatorIdentity({ files: memory, directory: "/state", clock });
    await using channel = await after.dial({ signal: never });
    expect(channel.peer.id).toBe(vaultIdForTest);
  }
});

test("what stands in the files is no secret of an invitation, and damaged files are said so", async () => {
  const files = memoryFileSystem();
  await files.makeDirectory("/vault");
  const { store } = await openStore(files, 1);
  const { token } = await store.invite({ name: "site-a", addresses: [address] });
  const secretHex = Buffer.from(decodeToken(token).secret).toString("hex");
  await using kept = await files.open("/vault/tls/enrolment.json", "write");
  const text = Buffer.alloc(await kept.sizeBytes());
  await kept.read(text, 0);
  expect(text.toString()).toContain('"site-a"');
  expect(text.toString()).not.toContain(secretHex);
  await kept.write(Buffer.from("{"), 5);
  await expect(openStore(files, 2)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  const nobody: CertificateHolder = {
    role: "replicator",
    name: "site-a",
    id: "eeeeeeeeeeeeeeee",
    serialNumber: "01",
    notBeforeMs: 0,
    notAfterMs: 1,
  };
  expect(store.isRevoked(nobody)).toBe(true);
});

test("a key that is not the certificate's, or half a file, is a fault that names the file", async () => {
  const vault = await vaultForTest({ clock });
  const addresses = [vault.listener.address];
  const { token } = await vault.store.invite({ name: "site-a", addresses });
  const files = memoryFileSystem();
  const prng = seededPrng(4);
  const joined = await joinVault({
    ...{ token, directory: "/state", files, clock, prng },
    signal: never,
  });
  const { privateKeyPem } = await makeRequest("another");
  await writeReplicatorRecord(files, "/state", { ...joined, privateKeyPem });
  await expect(openReplicatorIdentity({ files, directory: "/state", clock })).rejects.toMatchObject(
    {
      code: "STORAGE_FAILED",
      details: { path: "/state/identity.json" },
    },
  );
  await using torn = await vault.files.open("/vault/tls/vault.pem", "write");
  await torn.truncate(300);
  await expect(openStore(vault.files, 5)).rejects.toMatchObject({
    code: "STORAGE_FAILED",
    details: { path: "/vault/tls/vault.pem" },
  });
});
