import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { joinVault } from "./join.ts";
import { openReplicatorIdentity } from "./replicator-identity.ts";
import { never, type VaultForTest, vaultForTest, vaultIdForTest } from "./vault-for-test.ts";

const clock = systemClock();

async function invite(vault: VaultForTest, name = "site-a", replaces = false): Promise<string> {
  const addresses = [vault.listener.address];
  return (await vault.store.invite({ name, addresses, replaces })).token;
}

function join(token: string, files: FileSystem, seed = 7, replaces = false) {
  const prng = seededPrng(seed);
  return joinVault({ token, directory: "/state", files, clock, prng, signal: never, replaces });
}

test("a replicator joins with one token and is let in by its certificate", async () => {
  const vault = await vaultForTest({ clock });
  const files = memoryFileSystem();
  const joined = await join(await invite(vault), files);
  expect(joined).toMatchObject({ name: "site-a", vaultId: vaultIdForTest });
  const identity = await openReplicatorIdentity({ files, directory: "/state", clock });
  await using near = await identity.dial({ signal: never });
  const far = await vault.channel(0);
  expect(near.peer).toMatchObject({ role: "vault", id: vaultIdForTest });
  expect(far.peer).toMatchObject({ role: "replicator", name: "site-a", id: joined.id });
  expect(vault.store.holders()).toMatchObject([{ name: "site-a", state: "enrolled" }]);
  expect(await files.list("/state")).toEqual(["identity.json"]);
});

test("a token is used once: another key is refused, the same key gets the same certificate", async () => {
  const vault = await vaultForTest({ clock });
  const token = await invite(vault);
  const files = memoryFileSystem();
  const joined = await join(token, files);
  await expect(join(token, memoryFileSystem(), 8)).rejects.toMatchObject({ code: "TOKEN_INVALID" });
  expect(await vault.refusal(0)).toMatchObject({
    reason: "the invitation of site-a, which was used before",
  });
  const again = await vault.store.answer(
    Buffer.from(
      JSON.stringify({
        ask: "join",
        invitation: "0".repeat(16),
        secret: "0".repeat(64),
        id: joined.id,
        request: "",
      }),
    ),
    { address: "192.0.2.1:5", holder: null },
  );
  expect(again.refusal).toBe("a key that was not proven");
});

test("a replicator keeps its id when it joins again, and another may take its name only when invited to", async () => {
  const vault = await vaultForTest({ clock });
  const files = memoryFileSystem();
  const first = await join(await invite(vault), files);
  const second = await join(await invite(vault), files, 9);
  expect(second.id).toBe(first.id);
  await expect(join(await invite(vault), memoryFileSystem(), 10)).rejects.toMatchObject({
    code: "TOKEN_INVALID",
  });
  expect(await vault.refusal(0)).toMatchObject({ reason: /another id/ });
  const token = await invite(vault, "site-a", true);
  const taker = await join(token, memoryFileSystem(), 11);
  expect(taker.id).not.toBe(first.id);
  const old = await openReplicatorIdentity({ files, directory: "/state", clock });
  const channel = await old.dial({ signal: never });
  channel.receive(() => null);
  expect((await channel.closed)?.code).toBe("LINK_LOST");
  expect(await vault.refusal(1)).toMatchObject({ reason: "a revoked certificate" });
});

test("a directory that has joined a vault refuses another one unless asked", async () => {
  const vault = await vaultForTest({ clock });
  const other = await vaultForTest({ clock, prng: seededPrng(2) });
  const files = memoryFileSystem();
  const first = await join(await invite(vault), files);
  const token = await invite(other);
  await expect(join(token, files)).rejects.toMatchObject({ code: "USAGE" });
  const second = await join(token, files, 7, true);
  expect(second.id).toBe(first.id);
  expect(second.authorityPem).not.toBe(first.authorityPem);
});

test("a renewed certificate is used for new connections while old ones stand", async () => {
  const vault = await vaultForTest({ clock });
  const files = memoryFileSystem();
  await join(await invite(vault), files);
  const identity = await openReplicatorIdentity({ files, directory: "/state", clock });
  await using first = await identity.dial({ signal: never });
  const before = identity.current().certificatePem;
  await identity.renew({ signal: never });
  expect(identity.current().certificatePem).not.toBe(before);
  await using second = await identity.dial({ signal: never });
  await vault.channel(1);
  expect(vault.listener.channelCount).toBe(2);
  const reopened = await openReplicatorIdentity({ files, directory: "/state", clock });
  expect(reopened.current().certificatePem).toBe(identity.current().certificatePem);
  expect([first.sentBytes, second.sentBytes].every((sent) => sent > 0)).toBe(true);
});
