import { readFileSync } from "node:fs";
import files, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { z } from "zod";

// Loaded into an unaltered `afterimage` by NODE_OPTIONS=--import. When SIGUSR2 comes it reads an order from the file that
// DIE_AT names, and from then on waits for its moment to kill the process.

const orderSchema = z.strictObject({
  /** What is called: on files, or a write to a socket ("qmp": any that is not TLS; "tls": before it is encrypted). */
  call: z.enum(["create", "write", "datasync", "sync", "rename", "rm", "qmp", "tls"]),
  /** A pattern in the path (of a rename: the new one) or in what is written to a QMP socket. */
  match: z.string(),
  /** For the how-manieth time, from 1, after the order was read. */
  nth: z.int().min(1),
  when: z.enum(["before", "after"]),
});

/** Where a process is to be killed. */
export type DieOrder = z.infer<typeof orderSchema>;

let order: (DieOrder & { left: number }) | null = null;

function isDue(call: DieOrder["call"], subject: string): boolean {
  if (order === null || order.call !== call || !new RegExp(order.match).test(subject)) return false;
  order.left -= 1;
  return order.left === 0;
}

function die(): never {
  process.kill(process.pid, "SIGKILL");
  // The signal is here before the next line of ours.
  for (;;);
}

async function around<Result>(
  call: DieOrder["call"],
  subject: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const due = isDue(call, subject);
  if (due && order?.when === "before") die();
  const result = await work();
  if (due) die();
  return result;
}

function watchHandles(sample: FileHandle): void {
  const prototype = Object.getPrototypeOf(sample) as FileHandle;
  for (const call of ["write", "datasync", "sync"] as const) {
    const inner = prototype[call] as (...words: unknown[]) => Promise<unknown>;
    Object.assign(prototype, {
      [call](this: FileHandle, ...words: unknown[]) {
        return around(call, paths.get(this) ?? "", () => inner.apply(this, words));
      },
    });
  }
}

const paths = new WeakMap<FileHandle, string>();

function watchFiles(): void {
  const { open, rename, rm } = files;
  let isWatching = false;
  files.open = async (path, flags, mode) => {
    const isNew = typeof flags === "string" && flags.startsWith("wx");
    const make = () => open(path, flags, mode);
    const handle = await (isNew ? around("create", String(path), make) : make());
    paths.set(handle, String(path));
    if (!isWatching) watchHandles(handle);
    isWatching = true;
    return handle;
  };
  files.rename = (from, to) => around("rename", String(to), () => rename(from, to));
  files.rm = (path, options) => around("rm", String(path), () => rm(path, options));
  syncBuiltinESMExports();
}

function watchSockets(): void {
  const inner = Reflect.get(Socket.prototype, "write") as (...words: unknown[]) => boolean;
  Object.assign(Socket.prototype, {
    write(this: Socket, ...words: unknown[]) {
      const isTls = this instanceof TLSSocket;
      const subject = typeof words[0] === "string" ? words[0] : "";
      const due = isDue(isTls ? "tls" : "qmp", subject);
      if (due && order?.when === "before") die();
      const result = inner.apply(this, words);
      if (due) setImmediate(die);
      return result;
    },
  });
}

const orderPath = process.env.DIE_AT;
if (orderPath !== undefined) {
  watchFiles();
  watchSockets();
  process.on("SIGUSR2", () => {
    const read = orderSchema.parse(JSON.parse(readFileSync(orderPath, "utf8")));
    order = { ...read, left: read.nth };
  });
}
