import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { vaultForTest } from "./vault-for-test.ts";

const hasOpenssl = spawnSync("which", ["openssl"], { stdio: "ignore" }).status === 0;

async function connect(port: number, ...words: readonly string[]): Promise<string> {
  const target = ["s_client", "-connect", `127.0.0.1:${port}`, "-alpn", "afterimage/1"];
  const child = spawn("openssl", [...target, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (text += bytes.toString()));
  await once(child, "close");
  return text;
}

describe.skipIf(!hasOpenssl)("openssl s_client", () => {
  test("of TLS 1.2 reads not one byte", async () => {
    const vault = await vaultForTest({ clock: systemClock() });
    const { port } = vault.listener.address;
    const told = await connect(port, "-tls1_2");
    expect(told).toMatch(/SSL handshake has read 0 bytes/);
    expect(told).not.toMatch(/alert/);
    expect((await vault.refusal(0)).reason).toBe("a TLS older than 1.3");
  });

  test("of TLS 1.3 trusts the vault's certificate chain and its host name", async () => {
    const directory = await mkdtemp(join(tmpdir(), "afterimage-tls-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    const vault = await vaultForTest({ clock: systemClock() });
    const { port } = vault.listener.address;
    const authority = join(directory, "ca.pem");
    await writeFile(authority, vault.identity.trust.authorityPem);
    const strict = ["-tls1_3", "-CAfile", authority, "-verify_return_error", "-x509_strict"];
    const told = await connect(port, ...strict, "-verify_hostname", "localhost");
    expect(told).toMatch(/Verify return code: 0 \(ok\)/);
    expect(told).toMatch(/New, TLSv1.3, /);
    expect((await vault.refusal(0)).reason).toBe("no certificate");
    const other = await connect(port, ...strict, "-verify_hostname", "elsewhere.example");
    expect(other).toMatch(/hostname mismatch/i);
  });
});
