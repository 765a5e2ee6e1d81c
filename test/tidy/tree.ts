import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TidyFile } from "./finding.ts";

const skippedDirectories = new Set([".git", "node_modules", ".cache", ".vitest", "coverage"]);

/** Every file beneath `root` that belongs to the tree, sorted by path. */
export async function readTree(root: string): Promise<readonly TidyFile[]> {
  const paths: string[] = [];
  const walk = async (directory: string) => {
    for (const entry of await readdir(join(root, directory), { withFileTypes: true })) {
      const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
      if (entry.isDirectory() && !skippedDirectories.has(entry.name)) await walk(path);
      if (entry.isFile() && !path.endsWith(".tsbuildinfo")) paths.push(path);
    }
  };
  await walk("");
  return Promise.all(
    paths.sort().map(async (path) => ({ path, text: await readFile(join(root, path), "utf8") })),
  );
}
