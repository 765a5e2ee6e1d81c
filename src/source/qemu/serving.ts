import { once } from "node:events";
import { connect } from "node:net";
import { basename, join } from "node:path";
import { readSmallFile } from "../../base/atomic-file.ts";
import { Fault, isFault } from "../../base/fault.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { MIB } from "../../base/units.ts";
import { formatNbdAddress, type NbdAddress } from "../../nbd/address.ts";
import type { NbdClientTls, NbdDialOptions } from "../../nbd/client-options.ts";
import * as commands from "../../qemu/commands.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import type { QemuNbdSettings } from "./settings.ts";

/** How to reach exports: address, and credentials where it is not on this host. */
export type NbdDial = Pick<NbdDialOptions, "address" | "tls">;

/** Runs one command on the QEMU; rejects with its refusal. */
export type Run = (command: QmpCommand, signal?: AbortSignal) => Promise<unknown>;

/** How a QEMU serves our exports. It has one NBD server, which may be another tool's. */
export interface Serving {
  readonly address: NbdAddress;
  /** What it takes of the scratch directory; null for none. */
  readonly scratchName: string | null;
  /** How to connect; credentials are read anew, since they get renewed. STORAGE_MISSING, STORAGE_DENIED. */
  dial(): Promise<NbdDial>;
  /** Starts QEMU's server, or finds that ours runs. False when another tool's does. */
  start(run: Run, signal: AbortSignal): Promise<boolean>;
  /** Stops it; nobody else must have an export on it. */
  stop(run: Run): Promise<void>;
}

/** On a unix socket that QEMU and we both see. */
export function socketServing(path: string, files: FileSystem): Serving {
  const address = { path };
  return {
    address,
    scratchName: basename(path),
    dial: () => Promise.resolve({ address }),
    async start(run, signal) {
      const isOurs = () => listens(address, signal);
      return await startOr(() => run(commands.startNbdServer(path), signal), isOurs);
    },
    async stop(run) {
      await run(commands.stopNbdServer());
      await files.remove(path);
    },
  };
}

/**
 * Over TLS, for a QEMU on another host. Both sides show certificates: QEMU has its own in a directory of its host, and asks
 * for ours. `credentialsId` names the object that holds them in QEMU, by which a server that an earlier life of ours started is known.
 */
export function tlsServing(
  settings: QemuNbdSettings,
  credentialsId: string,
  files: FileSystem,
): Serving {
  const { host, port, tlsDirectory, qemuTlsDirectory } = settings;
  const address = { host, port };
  return {
    address,
    scratchName: null,
    dial: async () => ({ address, tls: await readCredentials(tlsDirectory, files) }),
    async start(run, signal) {
      const objects = await run(commands.listObjects(), signal);
      const wasOurs = namesOf(objects).includes(credentialsId);
      if (!wasOurs) await run(commands.addTlsCredentials(credentialsId, qemuTlsDirectory), signal);
      const server = commands.startTlsNbdServer({ host, port, credentials: credentialsId });
      const isOurs = async () => wasOurs && (await listens(address, signal));
      let isServing = false;
      try {
        isServing = await startOr(() => run(server, signal), isOurs);
        return isServing;
      } finally {
        if (!isServing) await run(commands.deleteObject(credentialsId));
      }
    },
    async stop(run) {
      await run(commands.stopNbdServer());
      await run(commands.deleteObject(credentialsId));
    },
  };
}

/** Where QEMU serves, for messages. */
export function placeOf({ address }: Serving): string {
  return formatNbdAddress(address);
}

async function startOr(
  start: () => Promise<unknown>,
  isOurs: () => Promise<boolean>,
): Promise<boolean> {
  try {
    await start();
    return true;
  } catch (error) {
    if (!isFault(error, "QMP_REFUSED")) throw error;
    if (!/already running/i.test(String(error.details.desc))) throw error;
    return await isOurs();
  }
}

async function listens(address: NbdAddress, signal: AbortSignal): Promise<boolean> {
  const socket = connect(address);
  try {
    await once(socket, "connect", { signal });
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  } finally {
    socket.destroy();
  }
}

function namesOf(objects: unknown): readonly unknown[] {
  return Array.isArray(objects) ? objects.map((object: { name?: unknown }) => object.name) : [];
}

/** Longest file of certificates or keys. */
const pemBytesMax = MIB;

/** File names as QEMU and libnbd have them (QEMU, docs/system/tls.rst). */
async function readCredentials(directory: string, files: FileSystem): Promise<NbdClientTls> {
  const read = (name: string) => readText(join(directory, name), files);
  const authorityPem = await read("ca-cert.pem");
  const identity = {
    certificatePem: await read("client-cert.pem"),
    privateKeyPem: await read("client-key.pem"),
  };
  return { authorityPem, identity };
}

async function readText(path: string, files: FileSystem): Promise<string> {
  const bytes = await readSmallFile(files, path, pemBytesMax).catch((error: unknown) => {
    if (!(error instanceof RangeError)) throw error;
    throw new Fault("CONFIG_INVALID", error.message, { path }, { cause: error });
  });
  if (bytes === null) throw new Fault("STORAGE_MISSING", `${path}: no such file`, { path });
  return new TextDecoder().decode(bytes);
}
