import { execFile } from "node:child_process";
import { access, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const units = ["afterimage-vault.service", "afterimage-replicator.service"];
const epoch = { ...process.env, SOURCE_DATE_EPOCH: "1700000000" };

let directory: string;
let tree: string;
let deb: string;
/** The package unpacked, as if it were the root of a host. */
let host: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-deb-"));
  // A copy, so that nothing changes between two builds.
  tree = join(directory, "tree");
  await mkdir(join(tree, "docs"), { recursive: true });
  for (const name of ["src", "bin", "packaging", "tools", "docs/operating"]) {
    await cp(join(root, name), join(tree, name), { recursive: true });
  }
  for (const name of ["package.json", "package-lock.json"]) {
    await cp(join(root, name), join(tree, name));
  }
  await symlink(join(root, "node_modules"), join(tree, "node_modules"));
  deb = await build(join(directory, "first"));
  host = join(directory, "host");
  await run("dpkg-deb", ["-x", deb, host]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Builds the package, not compressed: that takes long and tells nothing. */
async function build(out: string): Promise<string> {
  const tool = join(tree, "tools/package.ts");
  const words = [tool, "--out", out, "--compression", "none"];
  const { stdout } = await run(process.execPath, words, { env: epoch });
  return stdout.split(" ")[0] ?? "";
}

const onHost = (...parts: string[]) => join(host, ...parts);
/** Nothing of this source tree and no other Node may be needed. */
const clean = { PATH: "/usr/bin:/bin", HOME: "/nonexistent" };

async function has(program: string): Promise<boolean> {
  return run("sh", ["-c", `command -v ${program}`]).then(
    () => true,
    () => false,
  );
}

describe("the package", () => {
  test("says what it is and needs", async () => {
    const { stdout } = await run("dpkg-deb", ["--field", deb]);
    expect(stdout).toMatch(/^Package: afterimage$/m);
    expect(stdout).toMatch(/^Architecture: amd64$/m);
    expect(stdout).toMatch(/^Depends: .*libatomic1/m);
    expect(stdout).not.toMatch(/@[A-Z]/);
    expect(Number(/^Installed-Size: (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(100_000);
  });
  test("belongs to root, is writable by nobody else, and nothing of it is ours alone", async () => {
    const { stdout } = await run("dpkg-deb", ["--contents", deb], { maxBuffer: 2 ** 24 });
    for (const line of stdout.trim().split("\n")) {
      expect(line).toMatch(/^(d|-)rw[x-]r-[x-]r-[x-] root\/root |^lrwxrwxrwx root\/root /);
      expect(line).not.toMatch(/\.test\.ts|\/\.git|\.cache|typescript|vitest/);
    }
  });
  test("has everything it names: conffiles, links, maintainer scripts that a shell can read", async () => {
    const control = join(directory, "control");
    await run("dpkg-deb", ["-e", deb, control]);
    const conffiles = (await readFile(join(control, "conffiles"), "utf8")).trim().split("\n");
    for (const path of conffiles) await access(onHost(path));
    await access(onHost("usr/bin/afterimage"));
    for (const script of ["postinst", "prerm", "postrm"]) {
      await run("dash", ["-n", join(control, script)]);
    }
  });
  test("is the same to the byte when it is built again", async () => {
    const again = await build(join(directory, "again"));
    const { stdout: sums } = await run("sha256sum", [deb, again]);
    const [first, second] = sums.trim().split("\n");
    expect(first?.slice(0, 64)).toBe(second?.slice(0, 64));
  });
});

describe("installed", () => {
  const afterimage = (...words: string[]) =>
    run(onHost("usr/bin/afterimage"), words, { env: clean });

  test("the command runs by its own Node and makes a vault", async () => {
    expect((await afterimage("--version")).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const vault = join(directory, "vault");
    expect((await afterimage("vault", "init", vault)).stdout).toContain("Made the vault");
    expect((await afterimage("status", vault)).stdout).toContain("No groups yet");
  });
  test("every verb's help can be read, so no source is missing", async () => {
    const { stdout } = await afterimage("--help");
    const verbs = [...stdout.matchAll(/^ {2}([a-z-]+)[ |]/gm)].map(([, verb]) => verb ?? "");
    expect(verbs.length).toBeGreaterThan(10);
    for (const verb of verbs) {
      await expect(afterimage(verb, "--help"), verb).resolves.toBeDefined();
    }
  });
  test("the example configurations are configurations", async () => {
    const replicator = onHost("etc/afterimage/replicator.yaml");
    const sends = await afterimage("replicator", "serve", replicator, "--print-config");
    expect(sends.stdout).toContain("targetRpoSeconds: 15");
    const vault = onHost("etc/afterimage/vault.yaml");
    const takes = await afterimage("vault", "serve", "/srv", "--config", vault, "--print-config");
    expect(takes.stdout).toContain("host: 0.0.0.0");
  });
  test("dpkg installs, configures twice and purges it in a root of its own", async (context) => {
    if (process.getuid?.() !== 0) return context.skip("needs root");
    const root = join(directory, "root");
    await run("mkdir", ["-p", `${root}/var/lib/dpkg/updates`, `${root}/var/lib/dpkg/info`]);
    await run("touch", [`${root}/var/lib/dpkg/status`]);
    const dpkg = (...words: string[]) =>
      run("dpkg", [
        `--root=${root}`,
        "--force-depends",
        "--force-script-chrootless",
        "--log=/dev/null",
        ...words,
      ]);
    await dpkg("--install", deb);
    await dpkg("--install", deb);
    await access(join(root, "usr/bin/afterimage"));
    await dpkg("--purge", "afterimage");
    await expect(access(join(root, "usr/bin/afterimage"))).rejects.toThrow();
    await expect(access(join(root, "etc/afterimage/replicator.yaml"))).rejects.toThrow();
  });
});

describe("the units", () => {
  test.each(units)("%s is understood by systemd, and hardened", async (unit) => {
    const path = onHost("usr/lib/systemd/system", unit);
    const text = await readFile(path, "utf8");
    for (const line of ["ProtectSystem=strict", "NoNewPrivileges=yes", "User=afterimage"]) {
      expect(text).toContain(`\n${line}\n`);
    }
  });
  test("systemd-analyze has nothing against them", async (context) => {
    if (!(await has("systemd-analyze"))) return context.skip("systemd-analyze is not here");
    const paths = units.map((unit) => onHost("usr/lib/systemd/system", unit));
    // What units call of the host itself.
    await mkdir(onHost("bin"), { recursive: true });
    await writeFile(onHost("bin/kill"), "#!/bin/sh\n", { mode: 0o755 });
    const args = ["verify", "--man=no", "--recursive-errors=no", `--root=${host}`, ...units];
    const { stdout, stderr } = await run("systemd-analyze", args);
    // The unpacked root has no other units, and what ours wait for is the real host's.
    expect(`${stdout}${stderr}`).toBe("");
    for (const path of paths) {
      const security = ["security", "--offline=true", "--threshold=25", "--no-pager", path];
      await expect(run("systemd-analyze", security), path).resolves.toBeDefined();
    }
  });
});
