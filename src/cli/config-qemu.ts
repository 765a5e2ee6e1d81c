import type { QemuMachineSettings } from "../source/qemu/settings.ts";
import type { ConfigGroup } from "./config-schema.ts";

/** The machines of a group as the QEMU source takes them. */
export function qemuMachinesOf(group: ConfigGroup): readonly QemuMachineSettings[] {
  return group.machines.map(({ name, qmp, nbd, disks, boot }) => ({
    ...{ name, qmpPath: qmp ?? null, disks, boot },
    nbd:
      nbd === undefined
        ? undefined
        : {
            ...nbd.address,
            tlsDirectory: nbd.tls,
            qemuTlsDirectory: nbd.qemuTls ?? nbd.tls,
          },
  }));
}
