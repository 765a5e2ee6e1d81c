import { X509Certificate } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { Dial } from "../core/channel.ts";
import { fingerprintOf, makeRequest } from "./certificates.ts";
import { dialTls, secureContextOf } from "./dial.ts";
import { callEnrolment } from "./enrol-client.ts";
import type { CurrentIdentity, TlsTrust } from "./identity.ts";
import {
  type ReplicatorRecord,
  readReplicatorRecord,
  writeReplicatorRecord,
} from "./replicator-state.ts";
import { isDue, renewalCheckMs } from "./vault-identity.ts";

/** Who a replicator is while it runs. */
export interface ReplicatorIdentity {
  readonly name: string;
  /** 16 hex digits: the holder of generations. */
  readonly id: string;
  readonly vaultId: string;
  readonly trust: TlsTrust;
  readonly current: CurrentIdentity;
  /** When the certificate in use ends. */
  readonly notAfterMs: number;
  /** One connection for each call, to the address that answered last or the next that does. NOT_ENROLLED once the certificate has expired. */
  readonly dial: Dial;
  /** Asks for a new certificate now and uses it for every connection from then on. LINK_LOST, PEER_REFUSED, NOT_ENROLLED. */
  renew(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Renews whenever the time comes; ends with the signal's reason. Tells of what went wrong, and tries again. */
  keepFresh(options: {
    readonly signal: AbortSignal;
    readonly onRenewed?: (notAfterMs: number) => void;
    readonly onFailed?: (error: unknown) => void;
  }): Promise<never>;
}

/** What opening it takes. */
export interface ReplicatorIdentityOptions {
  readonly files: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
}

/** Reads who the replicator of this state directory is. NOT_ENROLLED when it has joined nobody. */
export async function openReplicatorIdentity(
  options: ReplicatorIdentityOptions,
): Promise<ReplicatorIdentity> {
  const { files, directory } = options;
  const record = await readReplicatorRecord(files, directory);
  if (record !== null) return new StoredIdentity(options, record);
  throw new Fault("NOT_ENROLLED", `${directory} has joined no vault`, { directory });
}

class StoredIdentity implements ReplicatorIdentity {
  readonly trust: TlsTrust;
  readonly dial: Dial;
  readonly #options: ReplicatorIdentityOptions;
  #record: ReplicatorRecord;

  constructor(options: ReplicatorIdentityOptions, record: ReplicatorRecord) {
    this.#options = options;
    this.#record = record;
    this.trust = { authorityPem: record.authorityPem, vaultId: record.vaultId };
    const { clock } = options;
    const dials = record.addresses.map((address) =>
      dialTls({ address, identity: this.current, trust: this.trust, clock }),
    );
    const dialAny = dialInTurn(dials);
    this.dial = async ({ signal }) => {
      this.#requireLive();
      return await dialAny({ signal });
    };
  }

  get name(): string {
    return this.#record.name;
  }

  get id(): string {
    return this.#record.id;
  }

  get vaultId(): string {
    return this.#record.vaultId;
  }

  get notAfterMs(): number {
    return new X509Certificate(this.#record.certificatePem).validToDate.getTime();
  }

  /** The same object until it is renewed. */
  readonly current: CurrentIdentity = () => this.#record;

  async renew({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    this.#requireLive();
    const { files, directory, clock } = this.#options;
    const { privateKeyPem, requestDer } = await makeRequest(`replicator ${this.id}`);
    const call = {
      fingerprint: fingerprintOf(this.#record.authorityPem),
      secureContext: secureContextOf(this.#record),
      request: { ask: "renew", request: Buffer.from(requestDer).toString("base64") },
      clock,
      signal,
    } as const;
    const answer = await inTurn(this.#record.addresses, (address) =>
      callEnrolment({ ...call, address }),
    );
    if (answer === null) {
      const message = "the vault closed without a new certificate: its log says why if it refused";
      throw new Fault("PEER_REFUSED", message, { name: this.name });
    }
    const { certificatePem } = answer;
    const record = { ...this.#record, privateKeyPem, certificatePem };
    // Kept before it is used: after a kill we are still somebody.
    await writeReplicatorRecord(files, directory, record);
    this.#record = record;
  }

  async keepFresh(options: Parameters<ReplicatorIdentity["keepFresh"]>[0]): Promise<never> {
    const { signal, onRenewed, onFailed } = options;
    const { clock } = this.#options;
    for (;;) {
      if (isDue(this.#record.certificatePem, clock.nowMs())) {
        try {
          await this.renew({ signal });
          onRenewed?.(this.notAfterMs);
        } catch (error) {
          signal.throwIfAborted();
          onFailed?.(error);
        }
      }
      await clock.sleep(renewalCheckMs, { signal });
    }
  }

  #requireLive(): void {
    if (this.#options.clock.nowMs() < this.notAfterMs) return;
    const message = `the certificate of replicator ${this.name} has expired`;
    throw new Fault("NOT_ENROLLED", message, { name: this.name, notAfterMs: this.notAfterMs });
  }
}

/** Tries the dials one after the other, first the one that worked last. LINK_LOST only when nobody answers. */
export function dialInTurn(dials: readonly Dial[]): Dial {
  let order = dials;
  return async ({ signal }) => {
    return await inTurn(order, async (dial) => {
      const channel = await dial({ signal });
      order = [dial, ...dials.filter((other) => other !== dial)];
      return channel;
    });
  };
}

async function inTurn<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result> {
  const failures: unknown[] = [];
  for (const item of items) {
    try {
      return await work(item);
    } catch (error) {
      if (!isFault(error, "LINK_LOST", "PEER_REFUSED")) throw error;
      failures.push(error);
    }
  }
  // Nobody there may pass; somebody else there needs a person, so that is what is told.
  throw failures.find((error) => isFault(error, "PEER_REFUSED")) ?? failures[0];
}
