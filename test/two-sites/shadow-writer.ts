import assert from "node:assert/strict";
import type { Clock } from "../../src/base/clock.ts";
import type { Prng } from "../../src/base/prng.ts";
import { KIB } from "../../src/base/units.ts";

const sectorBytes = 512;
const writeBytesMax = 64 * KIB;
/** One operation in so many writes zeroes. */
const zeroOneIn = 12;

/** A disk as its guest has it. */
export interface GuestDiskAccess {
  readonly name: string;
  readonly sizeBytes: number;
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  /** Exact; a trim may be ignored in part. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
}

/** One thing the guest did; numbered from 1, each begun only after the one before it was answered. */
export interface GuestOperation {
  readonly number: number;
  readonly kind: "write" | "zero";
  /** Place of the disk in the writer's list. */
  readonly disk: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** On this host's wall clock. */
  readonly issuedAtMs: number;
  /** Null while it is not answered yet. */
  answeredAtMs: number | null;
}

/**
 * A guest whose operations depend strictly on each other, across its disks: whatever a point shows must be the first k of them and
 * nothing else. Remembers all of them, so that the content after any k can be made again.
 */
export class ShadowWriter implements AsyncDisposable {
  readonly disks: readonly GuestDiskAccess[];
  readonly operations: GuestOperation[] = [];
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #stopping = new AbortController();
  #pauseMs: number;
  #isPaused = false;
  #resumed = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();
  #underWay: Promise<void> = Promise.resolve();

  /** `pauseMs` lies between two operations. */
  constructor(options: {
    readonly disks: readonly GuestDiskAccess[];
    readonly clock: Clock;
    readonly prng: Prng;
    readonly pauseMs: number;
  }) {
    this.disks = options.disks;
    this.#clock = options.clock;
    this.#prng = options.prng;
    this.#pauseMs = options.pauseMs;
  }

  /** Writes until disposed. A failure of a disk rejects the disposal. */
  start(): void {
    this.#running = this.#run();
    this.#running.catch(() => {}); // Disposing tells.
  }

  /** Resolves when nothing is under way any more. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    this.#resumed = Promise.withResolvers<void>();
    await this.#underWay;
  }

  resume(): void {
    this.#isPaused = false;
    this.#resumed.resolve();
  }

  /** Writes faster or slower from now on. */
  set pauseMs(pauseMs: number) {
    this.#pauseMs = pauseMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.resume();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (this.#isPaused) await this.#resumed.promise;
      if (signal.aborted) return;
      this.#underWay = this.#act();
      await this.#underWay;
      await this.#clock.sleep(this.#pauseMs, { signal }).catch(() => {}); // The end has come.
    }
  }

  async #act(): Promise<void> {
    const prng = this.#prng;
    const disk = prng.below(this.disks.length);
    const { sizeBytes } = this.disks[disk]!;
    const sectors = Math.floor(sizeBytes / sectorBytes);
    const start = prng.below(sectors);
    const most = Math.min(sectors - start, writeBytesMax / sectorBytes);
    const operation: GuestOperation = {
      number: this.operations.length + 1,
      kind: prng.below(zeroOneIn) === 0 ? "zero" : "write",
      disk,
      offsetBytes: start * sectorBytes,
      lengthBytes: (1 + prng.below(most)) * sectorBytes,
      issuedAtMs: this.#clock.nowMs(),
      answeredAtMs: null,
    };
    this.operations.push(operation);
    const { offsetBytes, lengthBytes } = operation;
    if (operation.kind === "zero") {
      await this.disks[disk]!.zero(offsetBytes, lengthBytes);
    } else {
      await this.disks[disk]!.write(offsetBytes, contentOf(operation));
    }
    operation.answeredAtMs = this.#clock.nowMs();
  }
}

/** What a write puts on the disk: each sector begins with the operation's number and its own place. */
export function contentOf({ number, kind, offsetBytes, lengthBytes }: GuestOperation): Buffer {
  const content = Buffer.alloc(lengthBytes);
  if (kind === "zero") return content;
  content.fill((number * 37) % 255);
  for (let at = 0; at < lengthBytes; at += sectorBytes) {
    content.writeBigUInt64LE(BigInt(number), at);
    content.writeBigUInt64LE(BigInt(offsetBytes + at), at + 8);
  }
  return content;
}

/** The largest operation's number on the disks; 0 when nothing was ever written. */
export function newestNumber(disks: readonly Buffer[]): number {
  let newest = 0;
  for (const content of disks) {
    assert(content.length % sectorBytes === 0);
    for (let at = 0; at < content.length; at += sectorBytes) {
      newest = Math.max(newest, Number(content.readBigUInt64LE(at)));
    }
  }
  return newest;
}
