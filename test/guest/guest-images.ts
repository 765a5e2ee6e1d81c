import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { Fault } from "../../src/base/fault.ts";
import { GIB, MIB } from "../../src/base/units.ts";
import { startMachine } from "../../src/qemu/machine.ts";
import { imageNode } from "../../src/qemu/machine-arguments.ts";
import { databaseDefinition, guestBootTimeoutMs, waitForDatabase } from "./database-guest.ts";

const here = import.meta.dirname;
const cacheDirectory = join(here, "../../.cache/guest");
const dataSizeBytes = GIB;
const walSizeBytes = 512 * MIB;

/** Images to be copied, never to be started from: `root` boots by itself; data and wal hold an empty database. */
export interface GuestImages {
  readonly root: string;
  readonly data: string;
  readonly wal: string;
}

/**
 * The Debian guest with PostgreSQL, built when the recipe or a package changed since the last time. Several processes may
 * ask at once. `onStep` hears what takes long, one sentence each. TOOL_MISSING, TOOL_FAILED.
 */
export async function ensureGuest(options: {
  readonly signal: AbortSignal;
  readonly onStep?: (step: string) => void;
}): Promise<GuestImages> {
  await mkdir(cacheDirectory, { recursive: true });
  const recipe = await recipeHash();
  await using _lock = await lockCache(options.signal);
  const fresh = await newestBuild(recipe);
  if (fresh) return imagesIn(join(cacheDirectory, fresh));
  const versions = await runTool("bash", [join(here, "build.sh"), "versions"], options.signal);
  const name = `${recipe}-${shortHash(versions)}`;
  const directory = join(cacheDirectory, name);
  if (!(await readdir(cacheDirectory)).includes(name)) {
    await build(`${directory}.part`, options);
    await rename(`${directory}.part`, directory);
  }
  const now = systemClock().nowMs() / 1000;
  await utimes(directory, now, now); // As new as what apt knows now.
  return imagesIn(directory);
}

function imagesIn(directory: string): GuestImages {
  return {
    root: join(directory, "root.qcow2"),
    data: join(directory, "data.qcow2"),
    wal: join(directory, "wal.qcow2"),
  };
}

async function build(
  directory: string,
  { signal, onStep }: Parameters<typeof ensureGuest>[0],
): Promise<void> {
  // We hold the lock: whatever is unfinished was left by a build that was killed.
  for (const name of await readdir(cacheDirectory)) {
    if (name.endsWith(".part")) await rm(join(cacheDirectory, name), { recursive: true });
  }
  await mkdir(directory);
  onStep?.("unpacking Debian packages into a bootable disk");
  const packages = join(cacheDirectory, "packages");
  await runTool("bash", [join(here, "build.sh"), "build", directory, packages], signal);
  const images = imagesIn(directory);
  const raw = join(directory, "root.img");
  await runTool("qemu-img", ["convert", "-O", "qcow2", raw, images.root], signal);
  await rm(raw);
  await createImage(images.data, dataSizeBytes, signal);
  await createImage(images.wal, walSizeBytes, signal);
  onStep?.("booting it once to make its database");
  const sockets = await mkdtemp(join(tmpdir(), "afterimage-guest-"));
  try {
    await using machine = await startMachine({
      name: "first-boot",
      definition: databaseDefinition,
      nodes: new Map(
        Object.entries(images).map(([disk, path]) => [disk, imageNode(path, "qcow2")]),
      ),
      directory: sockets,
      accelerator: "tcg",
      clock: systemClock(),
      signal,
    });
    const wait = { timeoutMs: guestBootTimeoutMs, signal };
    await waitForDatabase(machine.console, signal);
    machine.console.type("poweroff");
    await machine.console.waitForLine(/"event":"stopped"/, wait);
    await machine.ended;
  } finally {
    await rm(sockets, { recursive: true, force: true });
  }
}

/** An empty qcow2 image. */
export async function createImage(path: string, sizeBytes: number, signal: AbortSignal) {
  await runTool("qemu-img", ["create", "-q", "-f", "qcow2", path, String(sizeBytes)], signal);
}

/** The build of this recipe that is newer than what apt knows, or null. */
async function newestBuild(recipe: string): Promise<string | null> {
  const aptKnowsSinceMs = await modifiedAtMs("/var/lib/apt/lists");
  for (const name of await readdir(cacheDirectory)) {
    if (!name.startsWith(`${recipe}-`) || name.endsWith(".part")) continue;
    if ((await modifiedAtMs(join(cacheDirectory, name))) > aptKnowsSinceMs) return name;
  }
  return null;
}

async function modifiedAtMs(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.mtimeMs,
    () => 0,
  );
}

async function recipeHash(): Promise<string> {
  const files = [
    "build.sh",
    ...(await readdir(join(here, "rootfs"))).map((name) => `rootfs/${name}`),
  ];
  const contents = await Promise.all(
    files.sort().map((file) => readFile(join(here, file), "utf8")),
  );
  return shortHash([...contents, dataSizeBytes, walSizeBytes].join("\0"));
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

/** Held until disposed, or until this process is gone. */
async function lockCache(signal: AbortSignal): Promise<AsyncDisposable> {
  signal.throwIfAborted();
  const words = [join(cacheDirectory, "lock"), "sh", "-c", "echo held; exec cat"];
  const child = spawn("flock", words, { stdio: ["pipe", "pipe", "inherit"] });
  const gone = once(child, "close");
  const lock = {
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      child.kill();
      await gone;
    },
  };
  try {
    await once(child.stdout, "data", { signal });
    return lock;
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw signal.aborted ? signal.reason : error;
  }
}

/** Runs a program, and what it starts, to the end; aborting ends all of them. */
async function runTool(program: string, args: string[], signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stop = () => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGTERM");
  };
  signal.addEventListener("abort", stop, { once: true });
  let output = "";
  let complaint = "";
  child.stdout.on("data", (bytes: Buffer) => {
    output += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  try {
    const [exitCode] = await once(child, "close");
    if (exitCode === 0) return output;
  } catch (error) {
    complaint += String(error);
  } finally {
    signal.removeEventListener("abort", stop);
  }
  signal.throwIfAborted();
  throw new Fault("TOOL_FAILED", `${program} ${args[0] ?? ""}: ${complaint.trim()}`);
}
