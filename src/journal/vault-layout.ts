import { join } from "node:path";
import type { DiskIdentity, GroupName, PointId } from "../core/ids.ts";
import type { PointHeader } from "../core/point.ts";

/** Where things lie in a vault directory. Everything that knows a name in there is in this file. */
export interface GroupLayout {
  readonly directory: string;
  readonly ledger: string;
  /** What the ledger adds up to; derived, may be deleted at any time. */
  readonly ledgerState: string;
  readonly deltas: string;
  readonly incoming: string;
  readonly base: string;
  readonly staged: string;
  readonly pins: string;
  /** Machine descriptions by their hash. */
  readonly machines: string;
  /** Indices of all deltas in one file; derived, may be deleted at any time. */
  readonly indexCache: string;
  /** Where a running scrub stands; may be deleted at any time. */
  readonly scrub: string;
}

/** What tells one delta file from another; sealed files never change, so a name never gets other content. */
export interface DeltaName {
  readonly generation: number;
  readonly fromSequence: number;
  readonly sequence: number;
  readonly point: PointId;
  /** Whether it is a delta whose blocks were completed: it covers what the one it replaces covers, under a name of its own. */
  readonly isCompleted: boolean;
}

/** The file that makes a directory a vault. */
export function vaultFile(vault: string): string {
  return join(vault, "vault.json");
}
/** The file whose lock the one writer holds. */
export function writerLockFile(vault: string): string {
  return join(vault, "writer.lock");
}
/** Where a running writer listens for changing verbs. */
export function controlSocket(vault: string): string {
  return join(vault, "control.sock");
}
/** The directory that has one directory for each group. */
export function groupsDirectory(vault: string): string {
  return join(vault, "groups");
}

/** Where a group's things lie. */
export function groupLayout(vault: string, group: GroupName): GroupLayout {
  const directory = join(groupsDirectory(vault), group);
  return {
    directory,
    ledger: join(directory, "ledger"),
    ledgerState: join(directory, "ledger.state"),
    deltas: join(directory, "deltas"),
    incoming: join(directory, "incoming"),
    base: join(directory, "base"),
    staged: join(directory, "staged"),
    pins: join(directory, "pins"),
    machines: join(directory, "machines"),
    indexCache: join(directory, "index-cache"),
    scrub: join(directory, "scrub.json"),
  };
}

const deltaPattern = /^(\d{6})-(\d{12})-(\d{12})-([0-9a-f]{16})(-completed)?\.delta$/;

/** `000001-000000000041-000000000042-0123456789abcdef.delta`: sorts by generation, then by from-point. */
export function formatDeltaName(name: DeltaName): string {
  const digits = (value: number, length: number) => String(value).padStart(length, "0");
  const { generation, fromSequence, sequence, point } = name;
  const end = name.isCompleted ? `${point}-completed` : point;
  return `${digits(generation, 6)}-${digits(fromSequence, 12)}-${digits(sequence, 12)}-${end}.delta`;
}

/** The name under which a header's delta lies. */
export function deltaFileName(header: PointHeader, isCompleted = false): string {
  return formatDeltaName({
    generation: header.generation.number,
    fromSequence: header.fromSequence,
    sequence: header.sequence,
    point: header.id,
    isCompleted,
  });
}

/** The parts of a delta file's name, or null when it is not one of ours. */
export function parseDeltaName(fileName: string): DeltaName | null {
  const match = deltaPattern.exec(fileName);
  if (match === null) return null;
  return {
    generation: Number(match[1]),
    fromSequence: Number(match[2]),
    sequence: Number(match[3]),
    point: match[4] as PointId,
    isCompleted: match[5] !== undefined,
  };
}

/** The pair of files that hold a disk's base, or a sync's parts, in `directory`. */
export function blockStorePaths(directory: string, identity: DiskIdentity) {
  return {
    raw: join(directory, `${identity}.raw`),
    hashes: join(directory, `${identity}.hashes`),
  };
}
