import { join, relative } from "node:path";
import { groupDisksMax } from "../core/limits.ts";
import { sitesContradictions } from "./config-contradictions-sites.ts";
import { intervalOf } from "./config-interval.ts";
import type { Config } from "./config-schema.ts";

/** A place in the configuration. */
export type ConfigPath = readonly (string | number)[];

/** Something in the configuration that is right by itself and wrong beside something else. */
export interface Contradiction {
  /** Where the second of the two stands. */
  readonly path: ConfigPath;
  readonly message: string;
}

/** Whether a person wrote something at that place; defaults are not given. */
export type IsGiven = (path: ConfigPath) => boolean;

/** Finds names used twice, a disk in two places, keys of the other form, and directories within each other. */
export function contradictionsOf(config: Config, isGiven: IsGiven): readonly Contradiction[] {
  return [
    ...sitesContradictions(config, isGiven),
    ...directoriesWithinEachOther(config),
    ...intervalContradictions(config, isGiven),
    ...config.groups.flatMap((group, groupIndex) => {
      const at = ["groups", groupIndex];
      return [
        ...namedTwice(group.machines, [...at, "machines"], "machine"),
        ...group.machines.flatMap((machine, index) =>
          namedTwice(machine.disks, [...at, "machines", index, "disks"], "disk"),
        ),
        ...group.machines.flatMap((machine, index): Contradiction[] => {
          if (machine.qmp !== undefined) return [];
          if (machine.nbd !== undefined) {
            const message = "a machine that is read over NBD needs its `qmp`";
            return [{ path: [...at, "machines", index, "nbd"], message }];
          }
          return machine.disks.flatMap((disk, diskIndex) =>
            disk.image !== undefined
              ? []
              : [
                  {
                    path: [...at, "machines", index, "disks", diskIndex],
                    message: `the machine has no \`qmp\`, so the disk needs \`image\``,
                  },
                ],
          );
        }),
      ];
    }),
    ...namedTwice(config.groups, ["groups"], "group"),
    ...tooLarge(config),
    ...inTwoPlaces(config),
  ];
}

function namedTwice(
  things: readonly { readonly name: string }[],
  path: ConfigPath,
  what: string,
): readonly Contradiction[] {
  return things.flatMap((thing, index) => {
    const isSecond = things.findIndex((other) => other.name === thing.name) < index;
    if (!isSecond) return [];
    return [{ path: [...path, index, "name"], message: `a second ${what} named "${thing.name}"` }];
  });
}

function tooLarge(config: Config): readonly Contradiction[] {
  return config.groups.flatMap(({ machines }, index) => {
    const disks = machines.reduce((sum, machine) => sum + machine.disks.length, 0);
    if (disks <= groupDisksMax) return [];
    const message = `${disks} disks; a group has at most ${groupDisksMax}`;
    return [{ path: ["groups", index, "machines"], message }];
  });
}

/** An interval is given or follows from a target, and bounds need a target that they can hold. */
function intervalContradictions(config: Config, isGiven: IsGiven): readonly Contradiction[] {
  const places: ConfigPath[] = [[], ...config.groups.map((_, index) => ["groups", index])];
  const both = places.flatMap((at): Contradiction[] => {
    if (!isGiven([...at, "intervalSeconds"]) || !isGiven([...at, "targetRpoSeconds"])) return [];
    const message = "`intervalSeconds` is given beside it; one of the two decides";
    return [{ path: [...at, "targetRpoSeconds"], message }];
  });
  if (both.length > 0) return both;
  const policies = config.groups.map((group) => intervalOf(config, group));
  const hasTarget = (at: ConfigPath) =>
    at.length === 0
      ? policies.some(({ kind }) => kind === "target")
      : policies[Number(at[1])]?.kind === "target";
  const aimless = places.flatMap((at) =>
    ["intervalMinSeconds", "intervalMaxSeconds"].flatMap((key): Contradiction[] => {
      if (!isGiven([...at, key]) || hasTarget(at)) return [];
      return [{ path: [...at, key], message: "it needs `targetRpoSeconds`" }];
    }),
  );
  const narrow = config.groups.flatMap((group, index): Contradiction[] => {
    const policy = policies[index];
    if (policy?.kind !== "target") return [];
    const { intervalMinSeconds: min, targetRpoSeconds } = policy;
    const max = group.intervalMaxSeconds ?? config.intervalMaxSeconds;
    const path = ["groups", index, "intervalMinSeconds"];
    if (min > max) return [{ path, message: `${min} s is above intervalMaxSeconds, ${max} s` }];
    if (min < targetRpoSeconds) return [];
    const message = `points every ${min} s cannot hold targetRpoSeconds, ${targetRpoSeconds} s`;
    return [{ path, message }];
  });
  return [...aimless, ...narrow];
}

function inTwoPlaces(config: Config): readonly Contradiction[] {
  const found: Contradiction[] = [];
  const placeOf = new Map<string, string>();
  const groupOfSocket = new Map<string, string>();
  for (const [groupIndex, group] of config.groups.entries()) {
    for (const [machineIndex, machine] of group.machines.entries()) {
      const at = ["groups", groupIndex, "machines", machineIndex];
      const place = `${group.name}/${machine.name}`;
      const holder = machine.qmp === undefined ? undefined : groupOfSocket.get(machine.qmp);
      if (holder !== undefined) {
        // One QMP socket serves one client, and a machine in two groups has no single instant.
        found.push({ path: [...at, "qmp"], message: `the socket of ${holder} already` });
      }
      if (machine.qmp !== undefined) groupOfSocket.set(machine.qmp, place);
      for (const [diskIndex, disk] of machine.disks.entries()) {
        const keys = {
          node: disk.node,
          device: disk.device,
          drive: disk.drive,
          image: disk.image,
        };
        for (const [key, value] of Object.entries(keys)) {
          if (value === undefined) continue;
          // An image is one thing on the whole host, the others within their QEMU.
          const meant = key === "image" ? value : `${machine.qmp ?? place} ${key} ${value}`;
          const other = placeOf.get(meant);
          placeOf.set(meant, `${place}/${disk.name}`);
          if (other === undefined) continue;
          found.push({
            path: [...at, "disks", diskIndex, key],
            message: `the disk of ${other} already`,
          });
        }
      }
    }
  }
  return found;
}

/** Each of these directories is one's own; only the spool has its place in the state. */
function directoriesWithinEachOther(config: Config): readonly Contradiction[] {
  const isWithin = (inner: string, outer: string) => {
    const way = relative(outer, inner);
    return way === "" || (way !== ".." && !way.startsWith("../"));
  };
  const { vault, state, scratch, spool } = config;
  const scratchDirectory = scratch.directory;
  const pairs: { what: string; other: string | undefined }[] = [
    { what: "vault", other: vault },
    { what: "state", other: state },
    { what: "spool", other: spool.directory },
  ];
  const found = pairs.flatMap(({ what, other }): Contradiction[] => {
    if (other === undefined) return [];
    if (!isWithin(scratchDirectory, other) && !isWithin(other, scratchDirectory)) return [];
    const message = `scratch and ${what} must not lie within each other (${what}: ${other})`;
    return [{ path: ["scratch", "directory"], message }];
  });
  if (state !== undefined && spool.directory !== undefined && isWithin(state, spool.directory)) {
    const message = `the state must not lie within the spool (state: ${state}); ${join(state, "spool")} would do`;
    found.push({ path: ["spool", "directory"], message });
  }
  return found;
}
