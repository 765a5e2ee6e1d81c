import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { afterimage, afterimageJson, startAfterimage } from "./afterimage-process.ts";
import { guestReadyPattern, waitForDatabase } from "./guest/database-guest.ts";
import { ensureGuest } from "./guest/guest-images.ts";
import { copyImages, startProduction } from "./guest/production.ts";

const signal = AbortSignal.timeout(175_000);
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-boot-test-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("a machine that was killed comes back from its newest point by two commands", async () => {
  const vault = join(directory, "vault");
  const config = join(directory, "config.yaml");
  {
    const images = await copyImages(await ensureGuest({ signal }), directory);
    await using machine = await startProduction({ name: "db", images, directory, signal });
    await waitForDatabase(machine.console, signal);
    const disks = ["root", "data", "wal"].map((name) => `{name: ${name}, node: ${name}}`);
    await writeFile(
      config,
      `vault: ${vault}
scratch: {directory: ${join(directory, "scratch")}, capBytes: 512MiB}
groups: [{name: erp, machines: [{name: db, qmp: ${machine.qmpPath}, disks: [${disks.join(", ")}]}]}]
`,
    );
    await afterimageJson("vault", "init", vault);
    const ended = await afterimage("run", config, "--once");
    expect(ended, ended.stderr).toMatchObject({ exitCode: 0 });
    await machine.kill();
  }
  const boot = ["boot", vault, "erp", "--point", "newest", "--accelerator", "tcg"];
  await using booted = startAfterimage(
    ...[...boot, "--ready", guestReadyPattern.source, "--console", "--json"],
  );
  const said = await booted.seen(/"readySeconds"/);
  expect(said).toMatch(/db\| GUEST .*"damagedRows" : 0/);
  const line = said.split("\n").find((text) => text.startsWith("{"));
  expect(JSON.parse(line ?? "")).toMatchObject({
    point: { sequence: 1 },
    machines: [{ name: "db", readySeconds: expect.any(Number) }],
  });
  booted.child.kill("SIGINT");
  expect(await booted.ended).toMatchObject({ exitCode: 0 });

  const late = await afterimage(...boot, "--ready", "never", "--timeout", "1");
  expect(late.exitCode).toBe(1);
  expect(late.stderr).toMatch(/^afterimage: GUEST_FAILED: /m);
});
