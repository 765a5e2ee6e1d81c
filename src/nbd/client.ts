import assert from "node:assert/strict";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import { formatNbdAddress } from "./address.ts";
import { type NbdExtent, type NbdStatus, selectContext, walkStatus } from "./block-status.ts";
import { AlignedAccess, unsupported } from "./client-access.ts";
import { ClientConnection, watchReplies } from "./client-connection.ts";
import { greet, upgrade } from "./client-handshake.ts";
import { type NbdBlockSizes, type Negotiated, negotiate } from "./client-negotiation.ts";
import { completeDial, type Dial, type NbdClientOptions } from "./client-options.ts";
import { type Wire, withHandshake } from "./client-socket.ts";
import { stringBytesMax } from "./limits.ts";
import { command, commandFlag, transmissionFlag } from "./protocol.ts";

const requestsInFlightDefault = 16;
/** Source of zeroes for servers without WRITE_ZEROES. */
const zeroes = new Uint8Array(MIB);

/** What the server said the export can do. */
export interface NbdFeatures {
  readonly isReadOnly: boolean;
  readonly isRotational: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly canFastZero: boolean;
  readonly canCache: boolean;
  /** Several connections show one state; without it use a single one. */
  readonly canMultiConnect: boolean;
  readonly hasStructuredReplies: boolean;
}

/** How a change is to be acknowledged. */
export interface DurableOption {
  /** Resolves only when the change is on stable storage: FUA, or a FLUSH where the server has no FUA. */
  readonly isDurable?: boolean;
}

/** How zeroes are to be written. */
export interface ZeroOptions extends DurableOption {
  /** Space must stay allocated. */
  readonly keepsAllocation?: boolean;
  /** Rejects at once (ENOTSUP) rather than be slower than a write. */
  readonly isFastOnly?: boolean;
}

/**
 * One connection to an export. Many calls may be under way; they are answered in any order. A buffer belongs to the client
 * until its call settles. Rejects with NBD_FAILED (the server could not do it; details.errno), NBD_REFUSED (the server does
 * not offer it), NBD_CLOSED, NBD_PROTOCOL or TIMEOUT (the connection is gone and every pending call rejects alike), or the
 * signal's reason. Ranges must lie within the export.
 */
export interface NbdClient extends AsyncDisposable {
  readonly exportName: string;
  /** As the server calls it; often the same. */
  readonly canonicalName: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly blockSizes: NbdBlockSizes;
  readonly features: NbdFeatures;
  /** Those that were selected. */
  readonly metaContexts: readonly string[];
  /** Calls under way, in requests. */
  readonly pendingCount: number;
  /** Fills `into` from `offsetBytes`; any place and length. */
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
  /** Any place and length; edges of the server's blocks are read, changed and written back. */
  write(offsetBytes: number, from: Uint8Array, options?: DurableOption): Promise<void>;
  /** Makes the run read as zeroes; writes zeroes when the server has no WRITE_ZEROES. */
  zero(offsetBytes: number, lengthBytes: number, options?: ZeroOptions): Promise<void>;
  /** Tells the server that nobody needs the run any more; what it reads as afterwards is not defined. */
  trim(offsetBytes: number, lengthBytes: number, options?: DurableOption): Promise<void>;
  /** Asks the server to have the run at hand soon. */
  cache(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Makes all that was answered before durable. */
  flush(): Promise<void>;
  /** All selected contexts over the run, in order, without gaps, equal neighbours joined. */
  status(offsetBytes: number, lengthBytes: number): AsyncIterable<NbdStatus>;
  /** One selected context over the run, in order, without gaps, equal neighbours joined. */
  extents(context: string, offsetBytes: number, lengthBytes: number): AsyncIterable<NbdExtent>;
}

/**
 * Connects to an export. Rejects with NBD_UNREACHABLE, NBD_REFUSED (export or metadata context unknown, option refused),
 * NBD_PROTOCOL, NBD_CLOSED, TIMEOUT, or the signal's reason.
 */
export async function connectNbd(options: NbdClientOptions): Promise<NbdClient> {
  const dial = completeDial(options);
  const metaContexts = options.metaContexts ?? [];
  const exportName = options.exportName ?? "";
  assert(Buffer.byteLength(exportName) <= stringBytesMax, "export names have at most 4096 bytes");
  const wantsStructuredReplies = options.replies === "structured";
  return await withHandshake(dial, async (wire) => {
    const greeting = await greet(wire);
    if (dial.tls !== null) await upgrade(wire, greeting);
    const wish = { exportName, metaContexts, wantsStructuredReplies };
    const negotiated = await negotiate(wire, greeting, wish);
    const inFlightMax = options.requestsInFlightMax ?? requestsInFlightDefault;
    const connection = new ClientConnection(wire, negotiated, inFlightMax);
    return new WireClient({ dial, wire, connection, negotiated, exportName });
  });
}

interface WireClientParts {
  readonly dial: Dial;
  readonly wire: Wire;
  readonly connection: ClientConnection;
  readonly negotiated: Negotiated;
  readonly exportName: string;
}

class WireClient implements NbdClient {
  readonly exportName: string;
  readonly canonicalName: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly blockSizes: NbdBlockSizes;
  readonly features: NbdFeatures;
  readonly metaContexts: readonly string[];
  readonly #wire: Wire;
  readonly #connection: ClientConnection;
  readonly #access: AlignedAccess;
  readonly #contexts: ReadonlyMap<number, string>;

  constructor(parts: WireClientParts) {
    const { dial, wire, connection, negotiated } = parts;
    this.exportName = parts.exportName;
    this.canonicalName = negotiated.canonicalName;
    this.description = negotiated.description;
    this.sizeBytes = negotiated.sizeBytes;
    this.blockSizes = negotiated.blockSizes;
    this.features = readFeatures(negotiated);
    this.metaContexts = [...negotiated.metaContexts.values()];
    this.#contexts = negotiated.metaContexts;
    this.#wire = wire;
    this.#connection = connection;
    this.#access = new AlignedAccess((request) => connection.submit(request), negotiated);
    const { clock, timeouts, address } = dial;
    watchReplies(wire, connection, {
      replyMs: timeouts.replyMs,
      name: formatNbdAddress(address),
      sleep: (ms, options) => clock.sleep(ms, options),
    });
  }

  get pendingCount(): number {
    return this.#connection.pendingCount;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    this.#assertInside(offsetBytes, into.length);
    if (into.length > 0) await this.#access.read(offsetBytes, into);
  }

  async write(offsetBytes: number, from: Uint8Array, options: DurableOption = {}): Promise<void> {
    this.#assertInside(offsetBytes, from.length);
    this.#assertWritable();
    if (from.length === 0) return;
    await this.#access.write(offsetBytes, from, this.#fuaFlag(options));
    await this.#flushInsteadOfFua(options);
  }

  async zero(offsetBytes: number, lengthBytes: number, options: ZeroOptions = {}): Promise<void> {
    this.#assertInside(offsetBytes, lengthBytes);
    this.#assertWritable();
    if (options.isFastOnly && !this.features.canFastZero) throw this.#unsupported("FAST_ZERO");
    let flags = this.#fuaFlag(options);
    if (!this.features.canWriteZeroes) {
      for (let doneBytes = 0; doneBytes < lengthBytes; doneBytes += zeroes.length) {
        const piece = zeroes.subarray(0, Math.min(zeroes.length, lengthBytes - doneBytes));
        await this.#access.write(offsetBytes + doneBytes, piece, flags);
      }
    } else if (lengthBytes > 0) {
      if (options.keepsAllocation) flags |= commandFlag.noHole;
      if (options.isFastOnly) flags |= commandFlag.fastZero;
      await this.#access.zero(offsetBytes, lengthBytes, flags);
    }
    await this.#flushInsteadOfFua(options);
  }

  async trim(offsetBytes: number, lengthBytes: number, options: DurableOption = {}): Promise<void> {
    this.#assertInside(offsetBytes, lengthBytes);
    this.#assertWritable();
    if (!this.features.canTrim) throw this.#unsupported("TRIM");
    await this.#access.trim(offsetBytes, lengthBytes, this.#fuaFlag(options));
    await this.#flushInsteadOfFua(options);
  }

  async cache(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#assertInside(offsetBytes, lengthBytes);
    if (!this.features.canCache) throw this.#unsupported("CACHE");
    await this.#access.cache(offsetBytes, lengthBytes);
  }

  async flush(): Promise<void> {
    if (!this.features.canFlush) throw this.#unsupported("FLUSH");
    const nowhere = { offsetBytes: 0, lengthBytes: 0, into: null, from: null };
    await this.#connection.submit({ command: command.flush, flags: 0, ...nowhere });
  }

  status(offsetBytes: number, lengthBytes: number): AsyncIterable<NbdStatus> {
    this.#assertInside(offsetBytes, lengthBytes);
    assert(this.#contexts.size > 0, "status needs metaContexts when connecting");
    const source = {
      metaContexts: this.#contexts,
      minimumBlockBytes: this.blockSizes.minimumBytes,
      sizeBytes: this.sizeBytes,
      query: (startBytes: number, askedBytes: number) => this.#queryStatus(startBytes, askedBytes),
    };
    return walkStatus(source, offsetBytes, lengthBytes);
  }

  extents(context: string, offsetBytes: number, lengthBytes: number): AsyncIterable<NbdExtent> {
    assert(this.metaContexts.includes(context), `${context} was not selected when connecting`);
    return selectContext(this.status(offsetBytes, lengthBytes), context);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#connection.pendingCount > 0) {
      const message = `the connection to export "${this.exportName}" was closed by us`;
      this.#wire.destroy(new Fault("NBD_CLOSED", message, { exportName: this.exportName }));
    } else this.#connection.sendDisconnect();
    await this.#wire[Symbol.asyncDispose]();
  }

  async #queryStatus(offsetBytes: number, lengthBytes: number) {
    const statuses = await this.#connection.submit({
      command: command.blockStatus,
      flags: 0,
      offsetBytes,
      lengthBytes,
      into: null,
      from: null,
    });
    assert(statuses !== null, "BLOCK_STATUS succeeds with every context or not at all");
    return statuses;
  }

  #fuaFlag(options: DurableOption): number {
    if (!options.isDurable) return 0;
    if (this.features.canFua) return commandFlag.fua;
    if (!this.features.canFlush) throw this.#unsupported("FUA or FLUSH");
    return 0;
  }

  async #flushInsteadOfFua(options: DurableOption): Promise<void> {
    if (options.isDurable && !this.features.canFua) await this.flush();
  }

  #assertInside(offsetBytes: number, lengthBytes: number): void {
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0);
    assert(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0);
    assert(offsetBytes + lengthBytes <= this.sizeBytes, "a range beyond the export");
  }

  #assertWritable(): void {
    if (this.features.isReadOnly) throw this.#unsupported("writing");
  }

  #unsupported(feature: string): Fault {
    return unsupported(feature, this.exportName);
  }
}

function readFeatures(negotiated: Negotiated): NbdFeatures {
  const has = (flag: number) => (negotiated.flags & flag) !== 0;
  return {
    isReadOnly: has(transmissionFlag.readOnly),
    isRotational: has(transmissionFlag.rotational),
    canFlush: has(transmissionFlag.sendFlush),
    canFua: has(transmissionFlag.sendFua),
    canTrim: has(transmissionFlag.sendTrim),
    canWriteZeroes: has(transmissionFlag.sendWriteZeroes),
    canFastZero: has(transmissionFlag.sendFastZero),
    canCache: has(transmissionFlag.sendCache),
    canMultiConnect: has(transmissionFlag.canMultiConn),
    hasStructuredReplies: negotiated.hasStructuredReplies,
  };
}
