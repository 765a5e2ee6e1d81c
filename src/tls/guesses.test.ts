import tls from "node:tls";
import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { makeRequest } from "./certificates.ts";
import { frameMessage } from "./enrolment-exchange.ts";
import { joinVault } from "./join.ts";
import { openReplicatorIdentity } from "./replicator-identity.ts";
import { decodeToken, encodeToken, type Invitation } from "./token.ts";
import { ClockForTest, never, type VaultForTest, vaultForTest } from "./vault-for-test.ts";

const clock = systemClock();

async function invite(vault: VaultForTest): Promise<Invitation> {
  const addresses = [vault.listener.address];
  return decodeToken((await vault.store.invite({ name: "site-a", addresses })).token);
}

function join(invitation: Invitation, time = clock) {
  const token = encodeToken(invitation);
  const files = memoryFileSystem();
  const prng = seededPrng(1);
  return joinVault({ token, directory: "/state", files, clock: time, prng, signal: never });
}

/** What a client sees that sends these bytes as its request for a certificate. */
async function observe(vault: VaultForTest, bytes: Uint8Array) {
  const { host, port } = vault.listener.address;
  const ALPNProtocols = ["afterimage-enrol/1"];
  const socket = tls.connect({ host, port, ALPNProtocols, rejectUnauthorized: false });
  const seen = { bytes: 0, errors: [] as string[] };
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("secureConnect", () => socket.write(bytes));
  socket.on("data", (data: Buffer) => (seen.bytes += data.length));
  socket.on("error", (error: NodeJS.ErrnoException) => seen.errors.push(error.code ?? ""));
  socket.on("close", () => resolve());
  await promise;
  return seen;
}

test("a wrong secret, an unknown, an expired and a used invitation all look alike to who asks", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time });
  const invitation = await invite(vault);
  const { requestDer } = await makeRequest("guesser");
  const ask = (change: Record<string, unknown>) =>
    frameMessage(
      Buffer.from(
        JSON.stringify({
          ask: "join",
          invitation: invitation.id,
          secret: Buffer.from(invitation.secret).toString("hex"),
          id: "eeeeeeeeeeeeeeee",
          request: Buffer.from(requestDer).toString("base64"),
          ...change,
        }),
      ),
    );
  const expired = await invite(vault);
  time.advance(3_600_000);
  const fresh = await invite(vault);
  await join(fresh, time);
  const secretOf = ({ secret }: Invitation) => Buffer.from(secret).toString("hex");
  // A request of somebody else's key: right in all but the last byte of its signature.
  const forged = Buffer.from(requestDer);
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
  const cases: readonly (readonly [RegExp, Uint8Array])[] = [
    [/not proven/, ask({ request: forged.toString("base64") })],
    [/wrong secret for the invitation of site-a/, ask({ secret: "00".repeat(32) })],
    [/an invitation that there is not/, ask({ invitation: "f".repeat(16) })],
    [/has expired/, ask({ invitation: expired.id, secret: secretOf(expired) })],
    [/used before/, ask({ invitation: fresh.id, secret: secretOf(fresh) })],
    [/not proven/, ask({ request: Buffer.from("no request").toString("base64") })],
    [
      /a renewal without a certificate/,
      ask({ ask: "renew", invitation: undefined, secret: undefined, id: undefined }),
    ],
    [/that is none/, frameMessage(Buffer.from('{"ask":"everything"}'))],
    [/that is none/, frameMessage(Buffer.from([0xff, 0xfe]))],
    [/without a request/, Buffer.from("ffff41", "hex")],
  ];
  for (const [index, [reason, bytes]] of cases.entries()) {
    expect(await observe(vault, bytes), String(reason)).toEqual({ bytes: 0, errors: [] });
    const refused = await vault.refusal(index);
    expect(refused.reason).toMatch(reason);
    expect(refused.address).toMatch(/^127\.0\.0\.1:\d+$/);
  }
  expect(vault.store.holders().length).toBe(1);
});

test("a host that guesses has to wait, and the right secret does not help it meanwhile", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time });
  const invitation = await invite(vault);
  const secret = new Uint8Array(32);
  for (let guess = 0; guess < 10; guess += 1) {
    secret[0] = guess;
    await expect(join({ ...invitation, secret }, time)).rejects.toMatchObject({
      code: "TOKEN_INVALID",
    });
  }
  await expect(join(invitation, time)).rejects.toMatchObject({ code: "TOKEN_INVALID" });
  expect((await vault.refusal(10)).reason).toBe("too many wrong requests of this host");
  time.advance(60_000);
  expect((await join(invitation, time)).name).toBe("site-a");
});

test("who is enrolled renews although somebody behind the same address guesses", async () => {
  const vault = await vaultForTest({ clock });
  const files = memoryFileSystem();
  const token = encodeToken(await invite(vault));
  const common = { directory: "/state", files, clock };
  await joinVault({ ...common, token, prng: seededPrng(1), signal: never });
  for (let guess = 0; guess < 11; guess += 1) {
    await observe(vault, frameMessage(Buffer.from("{}")));
  }
  expect((await vault.refusal(10)).reason).toBe("too many wrong requests of this host");
  const identity = await openReplicatorIdentity(common);
  const before = identity.current().certificatePem;
  await identity.renew({ signal: never });
  expect(identity.current().certificatePem).not.toBe(before);
});

test("a secret is told to nobody but the vault that the token pins", async () => {
  const vault = await vaultForTest({ clock });
  const impostor = await vaultForTest({ clock, prng: seededPrng(99) });
  const invitation = await invite(vault);
  const addresses = [impostor.listener.address];
  await expect(join({ ...invitation, addresses })).rejects.toMatchObject({ code: "PEER_REFUSED" });
  expect((await impostor.refusal(0)).reason).toMatch(/without a request|handshake|closed/);
  // At the next address the right one answers.
  const both = [impostor.listener.address, vault.listener.address];
  expect((await join({ ...invitation, addresses: both })).name).toBe("site-a");
});

test("nobody there is LINK_LOST, and the token is as good as before", async () => {
  const vault = await vaultForTest({ clock });
  const invitation = await invite(vault);
  const nowhere = [{ host: "127.0.0.1", port: 1 }];
  await expect(join({ ...invitation, addresses: nowhere })).rejects.toMatchObject({
    code: "LINK_LOST",
  });
  expect((await join(invitation)).name).toBe("site-a");
});
