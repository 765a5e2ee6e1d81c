import { expect, test } from "vitest";
import { parseConfig } from "./config.ts";
import { qemuMachinesOf } from "./config-qemu.ts";

function configWith(nbd: string) {
  const lines = [
    "vault: /srv/vault",
    "scratch: { directory: /shared/scratch }",
    "groups:",
    "  - name: erp",
    "    machines:",
    `      - { name: db, qmp: /run/db.qmp, ${nbd}disks: [{ name: data, node: d0 }] }`,
  ];
  return parseConfig(lines.join("\n"), "a.yaml");
}

function nbdOf(nbd: string) {
  const [group] = configWith(nbd).groups;
  return group && qemuMachinesOf(group)[0]?.nbd;
}

test("a machine of this host is served on a socket", () => {
  expect(nbdOf("")).toBeUndefined();
});

test.each([
  ["10.0.0.7:10809", "10.0.0.7", 10_809],
  ["[fd00::7]:10810", "fd00::7", 10_810],
  ["kvm7.example:10809", "kvm7.example", 10_809],
])("a machine of another host is read at %s", (address, host, port) => {
  expect(nbdOf(`nbd: { address: "${address}", tls: /etc/tls }, `)).toEqual({
    ...{ host, port, tlsDirectory: "/etc/tls", qemuTlsDirectory: "/etc/tls" },
  });
});

test("QEMU's certificates may lie elsewhere on its host", () => {
  const nbd = nbdOf('nbd: { address: "h:1", tls: /etc/tls, qemuTls: /etc/pki/qemu }, ');
  expect(nbd).toMatchObject({ tlsDirectory: "/etc/tls", qemuTlsDirectory: "/etc/pki/qemu" });
});

test.each(["10.0.0.7", "fd00::7:10809", "h:0", "h:70000", ":1", "h:1:2", "-h:1"])(
  "no address is taken from %s",
  (address) => {
    expect(() => nbdOf(`nbd: { address: "${address}", tls: /etc/tls }, `)).toThrow("is no address");
  },
);
