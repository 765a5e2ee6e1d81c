import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { z } from "zod";

/** Where the program begins. */
const entries = ["src/daemon/main.ts"];

/**
 * The sources that the program needs, relative to `root`: whatever a source names by a text that ends in `.ts` (imports, threads,
 * processes), beginning with the program's own start. Tests name others and are named by none.
 */
export async function sourceFiles(root: string): Promise<readonly string[]> {
  const found = new Set<string>();
  const waiting = entries.map((entry) => join(root, entry));
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (found.has(path)) continue;
    const text = await readFile(path, "utf8").catch(() => null);
    if (text === null) continue;
    found.add(path);
    for (const [, named = ""] of text.matchAll(/"([\w./-]+\.ts)"/g)) {
      waiting.push(resolve(dirname(path), named));
    }
  }
  return [...found].map((path) => relative(root, path)).sort();
}

const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({ dev: z.boolean().optional(), optional: z.boolean().optional() }),
  ),
});

/** Parts of packages that only people who write code need. */
const needlessPattern =
  /(\.d\.[mc]?ts|\.map|\.tsbuildinfo|\.flow)$|\/(test|tests|docs|benchmarks|examples?|coverage|\.vscode)\/|\/\.git/;

/** The files of all packages that the program needs to run, relative to `root`; Node itself is not one. */
export async function moduleFiles(root: string): Promise<readonly string[]> {
  const lock = lockSchema.parse(
    JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")),
  );
  const files: string[] = [];
  for (const [path, { dev, optional }] of Object.entries(lock.packages)) {
    if (path === "" || dev === true || optional === true) continue;
    files.push(...(await filesBeneath(root, path)));
  }
  return files.filter((path) => !needlessPattern.test(path)).sort();
}

/** All files beneath a directory, those of packages within it left out. */
export async function filesBeneath(root: string, directory: string): Promise<readonly string[]> {
  const files: string[] = [];
  for (const entry of await readdir(join(root, directory), { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== "node_modules") {
      files.push(...(await filesBeneath(root, path)));
    } else if (entry.isFile()) files.push(path);
  }
  return files;
}

/** Bytes of all files beneath a directory. */
export async function sizeBeneath(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}
