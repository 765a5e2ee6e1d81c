import assert from "node:assert/strict";
import { dirname } from "node:path/posix";
import type { Prng } from "../src/base/prng.ts";
import { happens, pick } from "./chance.ts";
import type { CrashSeverity, StoredContent } from "./stored-content.ts";

export interface FileNode {
  readonly kind: "file";
  readonly content: StoredContent;
  modifiedAtMs: number;
}
export interface DirectoryNode {
  readonly kind: "directory";
  modifiedAtMs: number;
}
export type Node = FileNode | DirectoryNode;

/** A change of names: all of its entries take effect together. Null takes the name away. */
type NameChange = ReadonlyMap<string, Node | null>;

/** What a vault's disk holds: survives every life, and a crash with what had reached it. */
export class Medium {
  #seen = new Map<string, Node>([["/", { kind: "directory", modifiedAtMs: 0 }]]);
  #durable = new Map(this.#seen);
  #unsynced: NameChange[] = [];

  find(path: string): Node | undefined {
    return this.#seen.get(path);
  }

  paths(): readonly string[] {
    return [...this.#seen.keys()].sort();
  }

  childrenOf(directory: string): readonly string[] {
    return this.paths().filter((path) => path !== "/" && dirname(path) === directory);
  }

  /** Names in and beneath `path`, itself included. */
  treeOf(path: string): readonly string[] {
    return this.paths().filter((at) => at === path || at.startsWith(`${path}/`));
  }

  change(entries: Iterable<readonly [string, Node | null]>): void {
    const change = new Map(entries);
    this.#unsynced.push(change);
    applyNames(this.#seen, change);
  }

  /** Makes the changes of names in `directory` durable, a rename into it with both its ends. */
  syncDirectory(directory: string): void {
    this.#settle((change) =>
      [...change].some(([path, node]) => isIn(path, directory) && !leaves(change, node)),
    );
  }

  usedBytes(): number {
    let sum = 0;
    for (const node of this.#seen.values()) {
      if (node.kind === "file") sum += node.content.allocatedBytes;
    }
    return sum;
  }

  /** Power is cut. Any part of the unsynced changes survives; those of one name keep their order, a rename is whole or not. */
  crash(prng: Prng, severity: CrashSeverity): void {
    this.#settle(() => happens(prng, severity.survivalRate));
    this.#unsynced = [];
    for (const path of [...this.#durable.keys()].sort()) {
      if (path !== "/" && this.#durable.get(dirname(path))?.kind !== "directory")
        this.#durable.delete(path);
    }
    this.#seen = new Map(this.#durable);
    for (const path of this.paths()) {
      const node = this.#seen.get(path);
      if (node?.kind === "file") node.content.crash(prng, severity);
    }
  }

  /** Flips one bit of one file at rest, chosen among `isCandidate`; null when there is none. */
  rot(
    prng: Prng,
    isCandidate: (path: string) => boolean,
  ): { path: string; positionBytes: number } | null {
    const candidates = this.paths().filter((path) => {
      const node = this.#seen.get(path);
      return (
        node?.kind === "file" &&
        node.content.sizeBytes > 0 &&
        node.content.isSynced &&
        isCandidate(path)
      );
    });
    if (candidates.length === 0) return null;
    const path = pick(prng, candidates);
    const node = this.#seen.get(path);
    assert(node?.kind === "file");
    const positionBytes = prng.below(node.content.sizeBytes);
    node.content.rot(positionBytes, prng.below(8));
    return { path, positionBytes };
  }

  /** Makes the chosen changes durable, and before each the earlier ones of the same names. */
  #settle(isChosen: (change: NameChange) => boolean): void {
    const chosen = new Set<NameChange>();
    const names = new Set<string>();
    for (const change of [...this.#unsynced].reverse()) {
      if (![...change.keys()].some((name) => names.has(name)) && !isChosen(change)) continue;
      chosen.add(change);
      for (const name of change.keys()) names.add(name);
    }
    for (const change of this.#unsynced) if (chosen.has(change)) applyNames(this.#durable, change);
    this.#unsynced = this.#unsynced.filter((change) => !chosen.has(change));
  }
}

function isIn(path: string, directory: string): boolean {
  return path !== "/" && dirname(path) === directory;
}

/** Whether this entry of a change is the end that a rename takes its file away from. */
function leaves(change: NameChange, node: Node | null): boolean {
  return node === null && [...change.values()].some((other) => other !== null);
}

function applyNames(names: Map<string, Node>, change: NameChange): void {
  for (const [path, node] of change) {
    if (node === null) names.delete(path);
    else names.set(path, node);
  }
}
