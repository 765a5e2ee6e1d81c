import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import { z } from "zod";
import { Fault } from "../src/base/fault.ts";
import type { Machine } from "../src/qemu/machine.ts";
import { type LinkRelay, linkRelay } from "./link-relay.ts";
import {
  configuredGroup,
  type Replicator,
  RunningReplicator,
  run,
  startProduct,
} from "./replicator.ts";
import type { Scene } from "./scene.ts";

/** A vault and a replicator as processes of their own, and the link between them. Disposing stops all of it. */
export interface TwoSites extends AsyncDisposable {
  readonly replicator: Replicator;
  readonly link: LinkRelay;
}

const servingSchema = z.object({ msg: z.literal("Serving the vault."), listen: z.string() });

/** Makes a vault, serves it, invites a replicator, lets it join and replicate: what two administrators would do. */
export async function startTwoSites(scene: Scene, machine: Machine): Promise<TwoSites> {
  await using opening = new AsyncDisposableStack();
  await run(["vault", "init", scene.vault]);
  const listen = ["--listen", "127.0.0.1:0", "--log", "json"];
  const vault = startProduct(["vault", "serve", scene.vault, ...listen]);
  opening.defer(() => stop(vault));
  const link = opening.use(await linkRelay(await portOf(vault)));
  const address = `127.0.0.1:${link.port}`;
  const invited = ["--vault", scene.vault, "--address", address, "--json"];
  const { token } = z
    .object({ token: z.string() })
    .parse(JSON.parse(await run(["vault", "invite", "protected", ...invited])));
  const state = join(scene.directory, "replicator");
  await run(["replicator", "join", token, "--state", state]);
  const configPath = join(scene.directory, "replicator.yaml");
  const spool = { directory: join(scene.directory, "spool"), reserveBytes: 0 };
  await mkdir(spool.directory);
  await writeFile(configPath, stringify({ state, spool, ...configuredGroup(scene, machine) }));
  const child = startProduct(["replicator", "serve", configPath, "--log", "json"]);
  const replicator = opening.use(new RunningReplicator(child, scene));
  const owned = opening.move();
  return { replicator, link, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function portOf(vault: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const words: string[] = [];
  vault.once("close", () => {
    reject(new Fault("TOOL_FAILED", `the vault ended: ${words.join("\n")}`));
  });
  // It goes on being read: a server whose log nobody takes would stop.
  createInterface({ input: vault.stderr! }).on("line", (line) => {
    words.push(line);
    const serving = servingSchema.safeParse(parsed(line)).data;
    if (serving) resolve(Number(serving.listen.split(":").at(-1)));
    if (words.length > 100) words.shift();
  });
  return promise;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGTERM");
  await closed;
}
