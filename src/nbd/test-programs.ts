import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { NbdAddress } from "./address.ts";

/** Whether a program of somebody else's is there to be tested against; a test that needs it is skipped, visibly. */
export function isInstalled(program: string): boolean {
  return spawnSync("which", [program], { stdio: "ignore" }).status === 0;
}

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is. */
export async function run(program: string, programArguments: readonly string[]): Promise<Ended> {
  const child = spawn(program, programArguments, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  const [exitCode] = await once(child, "close");
  return { exitCode, stdout, stderr };
}

/** Runs a program that has to succeed; gives what it printed. */
export async function runWell(program: string, ...programArguments: readonly string[]) {
  const ended = await run(program, programArguments);
  const call = [program, ...programArguments].join(" ");
  assert.equal(ended.exitCode, 0, `${call}: ${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}

/** An NBD server of somebody else's; killed when disposed. */
export interface ForeignServer extends AsyncDisposable {
  readonly address: NbdAddress;
  kill(): void;
}

/** Starts a program that serves NBD on a unix socket, or elsewhere, and waits until it accepts. */
export async function startServer(
  place: string | NbdAddress,
  program: string,
  ...programArguments: readonly string[]
): Promise<ForeignServer> {
  const child = spawn(program, programArguments, { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  const ended = once(child, "close");
  const address = typeof place === "string" ? { path: place } : place;
  while (!(await accepts(address))) {
    assert(child.exitCode === null, `${program} ended: ${stderr}`);
    await sleep(10);
  }
  return {
    address,
    kill: () => void child.kill("SIGKILL"),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** nbdkit in the foreground on this socket. */
export function startNbdkit(socketPath: string, ...programArguments: readonly string[]) {
  return startServer(socketPath, "nbdkit", "-f", "-U", socketPath, ...programArguments);
}

async function accepts(address: NbdAddress): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = net.connect({ ...address });
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  const isAccepted = await promise;
  socket.destroy();
  return isAccepted;
}
