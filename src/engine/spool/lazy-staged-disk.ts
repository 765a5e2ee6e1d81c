import type { StagedDisk, StagedStatus, StageRequest } from "../../core/journal.ts";

/** What a sync's parts are found again by. */
export function requestOf({ kind, disk, identity, sizeBytes, syncId }: StagedStatus): StageRequest {
  return { kind, disk, identity, sizeBytes, syncId };
}

/** A sync's staged parts at the vault, asked for when they are first used: naming them in a point needs no link. */
export class LazyStagedDisk implements StagedDisk {
  readonly #request: StageRequest;
  readonly #open: (request: StageRequest) => Promise<StagedDisk>;
  readonly #onStatus: (status: StagedStatus) => Promise<void>;
  #opening: Promise<StagedDisk> | null = null;
  #status: StagedStatus;

  constructor(options: {
    request: StageRequest;
    open: (request: StageRequest) => Promise<StagedDisk>;
    /** How far the vault has it; what a bitmap records for must be known while the vault is away. */
    onStatus: (status: StagedStatus) => Promise<void>;
  }) {
    const { request } = options;
    this.#request = request;
    this.#open = options.open;
    this.#onStatus = options.onStatus;
    this.#status = { ...request, resumeAtBytes: 0 };
  }

  /** As far as it is known: before the first use it resumes at 0. */
  get status(): StagedStatus {
    return this.#status;
  }

  async hashes(offsetBytes: number, into: Uint8Array): Promise<void> {
    await (await this.opened()).hashes(offsetBytes, into);
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    await (await this.opened()).write(offsetBytes, data);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    await (await this.opened()).zero(offsetBytes, lengthBytes);
  }

  async checkpoint(resumeAtBytes: number): Promise<void> {
    await (await this.opened()).checkpoint(resumeAtBytes);
    this.#status = { ...this.#status, resumeAtBytes };
    await this.#onStatus(this.#status);
  }

  async discard(): Promise<void> {
    await (await this.opened()).discard();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const staged = await this.#opening?.catch(() => null);
    await staged?.[Symbol.asyncDispose]();
  }

  /** The vault's own; rejects like the link's `stage`. */
  opened(): Promise<StagedDisk> {
    this.#opening ??= this.#open(this.#request).then((staged) => {
      this.#status = staged.status;
      return staged;
    });
    return this.#opening;
  }
}
