import { onTestFinished } from "vitest";
import type { Clock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { type Prng, seededPrng } from "../base/prng.ts";
import type { Channel } from "../core/channel.ts";
import { type EnrolmentStore, openEnrolmentStore } from "./enrolment-store.ts";
import { listenTls, type TlsListener, type TlsListenOptions } from "./listen.ts";
import type { RefusedPeer } from "./refusal-log.ts";
import { openVaultIdentity, type VaultIdentity } from "./vault-identity.ts";

/** A signal that nobody aborts. */
export const never = new AbortController().signal;

/** A clock whose time is set by the test; sleeps end when the time is there. */
export class ClockForTest implements Clock {
  #nowMs: number;
  #sleeping: { readonly untilMs: number; readonly wake: () => void }[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  /** Sleeps that have not ended. */
  get sleepingCount(): number {
    return this.#sleeping.length;
  }

  async sleep(durationMs: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { untilMs: this.#nowMs + durationMs, wake: resolve };
    this.#sleeping.push(sleeper);
    const onAbort = () => {
      this.#sleeping = this.#sleeping.filter((other) => other !== sleeper);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    await promise;
    signal?.removeEventListener("abort", onAbort);
  }

  advance(durationMs: number): void {
    this.#nowMs += durationMs;
    const due = this.#sleeping.filter(({ untilMs }) => untilMs <= this.#nowMs);
    this.#sleeping = this.#sleeping.filter((sleeper) => !due.includes(sleeper));
    for (const { wake } of due) wake();
  }
}

/** A vault that listens on loopback, with its store in memory. */
export interface VaultForTest {
  readonly files: FileSystem;
  readonly identity: VaultIdentity;
  readonly store: EnrolmentStore;
  readonly listener: TlsListener;
  readonly refused: readonly RefusedPeer[];
  /** Resolves with the refusal of that index, which may have happened. */
  refusal(index: number): Promise<RefusedPeer>;
  /** Resolves with the channel of that index, which may have begun. */
  channel(index: number): Promise<Channel>;
}

/** Vault id of the vaults for tests. */
export const vaultIdForTest = "0123456789abcdef";

/** Opens one on `files`; closed at the test's end. */
export async function vaultForTest(options: {
  readonly clock: Clock;
  readonly files?: FileSystem;
  readonly prng?: Prng;
  readonly listen?: Partial<TlsListenOptions>;
}): Promise<VaultForTest> {
  const { clock, files = memoryFileSystem(), prng = seededPrng(1) } = options;
  const common = { files, vaultDirectory: "/vault", vaultId: vaultIdForTest, clock, prng };
  await files.makeDirectory("/vault");
  const identity = await openVaultIdentity({ ...common, hosts: ["localhost", "127.0.0.1"] });
  const { authority, fingerprint } = identity;
  const store = await openEnrolmentStore({ ...common, authority, fingerprint });
  const refused = sequence<RefusedPeer>();
  const channels = sequence<Channel>();
  const listener = await listenTls({
    host: "127.0.0.1",
    port: 0,
    identity: identity.current,
    trust: identity.trust,
    isRevoked: store.isRevoked,
    onChannel: channels.add,
    onRefused: refused.add,
    enrolment: store.answer,
    clock,
    ...options.listen,
  });
  onTestFinished(() => listener[Symbol.asyncDispose]());
  const { items } = refused;
  return {
    files,
    identity,
    store,
    listener,
    refused: items,
    refusal: refused.at,
    channel: channels.at,
  };
}

/** What happens, in order, for those who come before and after. */
function sequence<Item>() {
  const items: Item[] = [];
  const waiting: (() => void)[] = [];
  return {
    items,
    add: (item: Item) => {
      items.push(item);
      for (const wake of waiting.splice(0)) wake();
    },
    at: async (index: number): Promise<Item> => {
      for (;;) {
        const item = items[index];
        if (item !== undefined) return item;
        const { promise, resolve } = Promise.withResolvers<void>();
        waiting.push(resolve);
        await promise;
      }
    },
  };
}
