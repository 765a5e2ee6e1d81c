import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { issueIdentity, makeAuthority } from "./certificates.ts";
import type { CertificateRole, TlsIdentity } from "./identity.ts";
import { joinVault } from "./join.ts";
import { helloOf, observePlain, observeTls } from "./observed-for-test.ts";
import { issueReader } from "./readers.ts";
import { openReplicatorIdentity } from "./replicator-identity.ts";
import {
  ClockForTest,
  never,
  type VaultForTest,
  vaultForTest,
  vaultIdForTest,
} from "./vault-for-test.ts";

const clock = systemClock();
const dayMs = 86_400_000;
const prng = seededPrng(5);

/** A certificate of the vault's authority that the vault did not enrol, unless it is let be. */
async function issue(
  vault: VaultForTest,
  wish: { role?: CertificateRole; nowMs?: number; validMs?: number } = {},
): Promise<TlsIdentity> {
  const { role = "replicator", nowMs = clock.nowMs(), validMs = dayMs } = wish;
  const id = role === "vault" ? vaultIdForTest : "cccccccccccccccc";
  const holder = { role, name: role === "vault" ? id : "site-c", id };
  const { authority } = vault.identity;
  return (await issueIdentity(authority, { holder, nowMs, validMs, prng })).identity;
}

async function enrolled(vault: VaultForTest, name: string) {
  const { token } = await vault.store.invite({ name, addresses: [vault.listener.address] });
  const files = memoryFileSystem();
  const seed = name.length + name.charCodeAt(0);
  const common = { files, directory: "/state", clock };
  await joinVault({ ...common, token, prng: seededPrng(seed), signal: never });
  return await openReplicatorIdentity(common);
}

async function ofAnotherAuthority(): Promise<TlsIdentity> {
  const nowMs = clock.nowMs();
  const authority = await makeAuthority({ vaultId: vaultIdForTest, nowMs, prng });
  const holder = { role: "replicator", name: "site-a", id: "dddddddddddddddd" } as const;
  return (await issueIdentity(authority, { holder, nowMs, validMs: dayMs, prng })).identity;
}

test("whoever is refused after the handshake sees the same, whatever the reason; the log has it with the address", async () => {
  const vault = await vaultForTest({ clock });
  const revoked = await enrolled(vault, "revoked");
  await vault.store.revoke("revoked");
  const reader = await issueReader({
    files: vault.files,
    vaultDirectory: "/vault",
    authority: vault.identity.authority,
    name: "reader",
    clock,
    prng,
  });
  const nowMs = clock.nowMs();
  const cases: readonly (readonly [string, TlsIdentity | null, string | null])[] = [
    ["no certificate", null, null],
    ["a certificate of another authority", await ofAnotherAuthority(), null],
    ["an expired certificate", await issue(vault, { nowMs: nowMs - 2 * dayMs }), "site-c"],
    ["a certificate that is not valid yet", await issue(vault, { nowMs: nowMs + dayMs }), "site-c"],
    ["a revoked certificate", revoked.current(), "revoked"],
    ["a certificate for the role reader", reader.identity, "reader"],
    ["a certificate for the role vault", await issue(vault, { role: "vault" }), vaultIdForTest],
    // Signed by the right authority, but never entered: a stolen authority key from an old copy, say.
    ["a revoked certificate", await issue(vault), "site-c"],
  ];
  for (const [index, [reason, identity, claimed]] of cases.entries()) {
    const seen = await observeTls(vault.listener.address, identity);
    expect(seen, reason).toEqual({ isEstablished: true, applicationBytes: 0, errors: [] });
    const refused = await vault.refusal(index);
    expect(refused).toMatchObject({ reason, claimed });
    expect(refused.address).toMatch(/^127\.0\.0\.1:\d+$/);
  }
  expect(vault.refused.length).toBe(cases.length);
  expect(vault.listener.channelCount).toBe(0);
});

describe("who speaks no TLS 1.3 of ours gets not one byte", () => {
  const versions = ["TLSv1", "TLSv1.1", "TLSv1.2"] as const;
  test.each(versions)("%s", async (maxVersion) => {
    const vault = await vaultForTest({ clock });
    const minVersion = "TLSv1";
    const ciphers = "DEFAULT:@SECLEVEL=0";
    const seen = await observeTls(vault.listener.address, null, {
      minVersion,
      maxVersion,
      ciphers,
    });
    expect(seen).toEqual({ isEstablished: false, applicationBytes: 0, errors: ["ECONNRESET"] });
    expect(await vault.refusal(0)).toMatchObject({ reason: "a TLS older than 1.3", claimed: null });
  });

  test("another protocol of TLS 1.3, or none", async () => {
    const vault = await vaultForTest({ clock });
    for (const ALPNProtocols of [["h2"], []]) {
      const seen = await observeTls(vault.listener.address, null, { ALPNProtocols });
      expect(seen).toEqual({ isEstablished: false, applicationBytes: 0, errors: ["ECONNRESET"] });
    }
    expect(await vault.refusal(1)).toMatchObject({ reason: "no protocol of ours" });
  });

  const garbage: readonly (readonly [string, readonly Uint8Array[], RegExp])[] = [
    ["plain text", [Buffer.from("GET / HTTP/1.1\r\n\r\n")], /^no TLS$/],
    ["zeroes", [new Uint8Array(100)], /^no TLS$/],
    [
      "a record that is too long",
      [Buffer.from("1603010000".replace("0000", "ffff"), "hex")],
      /^no TLS$/,
    ],
    ["no ClientHello in a record", [Buffer.from("160301000402000000", "hex")], /ClientHello/],
    ["lengths beyond the end", [Buffer.from("16030100060100000203ff", "hex")], /malformed/],
    ["a hello torn over records", [Buffer.from("160301000401ffffff", "hex")], /several records/],
  ];
  test.each(garbage)("%s", async (_name, pieces, reason) => {
    const vault = await vaultForTest({ clock });
    const seen = await observePlain(vault.listener.address, pieces);
    expect(seen.received.length).toBe(0);
    expect((await vault.refusal(0)).reason).toMatch(reason);
  });
});

test("a handshake that breaks off is closed and logged, whatever broke it", async () => {
  const vault = await vaultForTest({ clock });
  const hello = await helloOf({ ALPNProtocols: ["afterimage/1"], minVersion: "TLSv1.3" });
  const record = Buffer.concat([Buffer.from("1703030100", "hex"), Buffer.alloc(256, 7)]);
  const seen = await observePlain(vault.listener.address, [hello, record]);
  // The answer to a hello of TLS 1.3 is the handshake's own; there is no application data behind it.
  expect(seen.received[0]).toBe(22);
  expect((await vault.refusal(0)).reason).toMatch(/^the handshake failed: ERR_SSL/);
  const gone = net.connect({ ...vault.listener.address });
  gone.write(hello);
  gone.once("data", () => gone.destroy());
  expect((await vault.refusal(1)).reason).toMatch(
    /^the (?:handshake failed|connection was lost|peer closed)/,
  );
  expect(vault.refused.every(({ address }) => /^127\.0\.0\.1:\d+$/.test(address))).toBe(true);
});

test("who says nothing, or a byte at a time, is closed when the time is over", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time });
  const silent = observePlain(vault.listener.address, []);
  const slow = observePlain(vault.listener.address, [Buffer.of(0x16), Buffer.of(3)]);
  while (time.sleepingCount < 3) await new Promise((resolve) => setImmediate(resolve));
  time.advance(10_000);
  expect((await silent).received.length + (await slow).received.length).toBe(0);
  for (const index of [0, 1]) {
    expect((await vault.refusal(index)).reason).toMatch(/not finished within 10000 ms/);
  }
});

test("one host cannot take all places in the handshake", async () => {
  const limits = { handshakesPerAddressMax: 3 };
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time, listen: { limits } });
  const silent = [1, 2, 3].map(() => observePlain(vault.listener.address, []));
  while (time.sleepingCount < 4) await new Promise((resolve) => setImmediate(resolve));
  await observePlain(vault.listener.address, []);
  expect((await vault.refusal(0)).reason).toBe("too many connections in their handshake");
  time.advance(10_000);
  await Promise.all(silent);
  const late = await observeTls(vault.listener.address, null);
  expect(late.isEstablished).toBe(true);
});

test("a peer has so many channels and no more", async () => {
  const vault = await vaultForTest({ clock, listen: { limits: { channelsPerPeerMax: 2 } } });
  const identity = await enrolled(vault, "site-a");
  await using first = await identity.dial({ signal: never });
  await using second = await identity.dial({ signal: never });
  const third = await identity.dial({ signal: never });
  third.receive(() => null);
  expect(await third.closed).toMatchObject({ code: "LINK_LOST" });
  expect((await vault.refusal(0)).reason).toBe("too many channels");
  expect([first, second].length).toBe(vault.listener.channelCount);
});

test("no session is taken up again: every connection proves anew who it is", async () => {
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault, "site-a");
  const { privateKeyPem: key, certificatePem: cert } = identity.current();
  const sessions: Buffer[] = [];
  const connectOnce = async (session: Buffer | undefined) => {
    const socket = tls.connect({
      ...vault.listener.address,
      ALPNProtocols: ["afterimage/1"],
      rejectUnauthorized: false,
      key,
      cert,
      session,
    });
    socket.on("session", (ticket: Buffer) => sessions.push(ticket));
    await once(socket, "secureConnect");
    const isReused = socket.isSessionReused();
    if (session === undefined) await once(socket, "session");
    socket.destroy();
    return isReused;
  };
  expect(await connectOnce(undefined)).toBe(false);
  expect(sessions.length).toBeGreaterThan(0);
  expect(await connectOnce(sessions[0])).toBe(false);
});
