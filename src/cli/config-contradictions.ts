import { relative } from "node:path";
import { groupDisksMax } from "../core/limits.ts";
import type { Config } from "./config-schema.ts";

/** Something in the configuration that is right by itself and wrong beside something else. */
export interface Contradiction {
  /** Where the second of the two stands. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Finds names used twice, a disk in two places, and directories within each other. */
export function contradictionsOf(config: Config): readonly Contradiction[] {
  return [
    ...directoriesWithinEachOther(config),
    ...config.groups.flatMap((group, groupIndex) => {
      const at = ["groups", groupIndex];
      return [
        ...namedTwice(group.machines, [...at, "machines"], "machine"),
        ...group.machines.flatMap((machine, index) =>
          namedTwice(machine.disks, [...at, "machines", index, "disks"], "disk"),
        ),
        ...group.machines.flatMap((machine, index) => {
          if (machine.qmp !== undefined) return [];
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
  path: readonly (string | number)[],
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

function directoriesWithinEachOther(config: Config): readonly Contradiction[] {
  const isWithin = (inner: string, outer: string) => !relative(outer, inner).startsWith("..");
  const { vault, scratch } = config;
  if (!isWithin(scratch.directory, vault) && !isWithin(vault, scratch.directory)) return [];
  const message = `scratch and vault must not lie within each other (vault: ${vault})`;
  return [{ path: ["scratch", "directory"], message }];
}
