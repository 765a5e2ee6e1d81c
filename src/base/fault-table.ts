import type { FaultEntry } from "./fault-entry.ts";
import { sitesFaults } from "./fault-table-sites.ts";

/** Every fault the product can meet. Documentation, exit codes and messages come from here and nowhere else. */
export const faultTable = {
  // -- usage and configuration
  USAGE: {
    retry: false,
    exitCode: 2,
    cause: "The command was called with arguments it does not take.",
    nextStep: "Run the command with --help; it ends with an example.",
  },
  CONFIG_INVALID: {
    retry: false,
    exitCode: 2,
    cause:
      "The configuration has an unknown key, a wrong value, or parts that contradict each other.",
    nextStep: "Correct the key that the message names; docs/operating/config.md lists all keys.",
  },
  CHECK_FAILED: {
    retry: false,
    exitCode: 1,
    cause: "A check ran to its end and found something wrong.",
    nextStep:
      "Read the findings above; each names the file, the points lost and the points still good.",
  },
  ABORTED: {
    retry: true,
    exitCode: 2,
    cause: "The work was stopped before its end.",
    nextStep: "Run it again; nothing sealed was lost.",
  },
  TIMEOUT: {
    retry: true,
    exitCode: 2,
    cause: "An answer did not come within its bound.",
    nextStep: "Check that the peer named in the message is alive and not overloaded.",
  },
  TOOL_MISSING: {
    retry: false,
    exitCode: 2,
    cause: "A program this needs is not installed.",
    nextStep: "Install the package that the message names, then run `afterimage doctor`.",
  },
  TOOL_FAILED: {
    retry: false,
    exitCode: 2,
    cause: "A program of the host ended with an error.",
    nextStep: "Read its own words in the message.",
  },
  // -- storage
  STORAGE_FULL: {
    retry: true,
    exitCode: 2,
    cause: "The file system has no room left, or a quota was reached.",
    nextStep: "Free space there or shorten retention; nothing sealed was lost.",
  },
  STORAGE_DENIED: {
    retry: false,
    exitCode: 2,
    cause: "The operating system refused access to a file or directory.",
    nextStep: "Give the user that runs afterimage access to the path in the message.",
  },
  STORAGE_MISSING: {
    retry: false,
    exitCode: 2,
    cause: "A file or directory is not there.",
    nextStep: "Check the path in the message and that its file system is mounted.",
  },
  STORAGE_FAILED: {
    retry: false,
    exitCode: 2,
    cause: "The device or file system reported an error.",
    nextStep: "Check the host's kernel log; then run `afterimage verify`.",
  },
  // -- vault and journal
  VAULT_MISSING: {
    retry: false,
    exitCode: 2,
    cause: "The directory is not a vault.",
    nextStep: "Make one with `afterimage vault init DIR`, or correct the path.",
  },
  VAULT_EXISTS: {
    retry: false,
    exitCode: 2,
    cause: "The directory already holds a vault or other files.",
    nextStep: "Use the vault that is there, or name an empty directory.",
  },
  VAULT_BUSY: {
    retry: true,
    exitCode: 2,
    cause: "Another process is writing to this vault.",
    nextStep: "Stop that process, or let it do the work; reading commands run beside it.",
  },
  VAULT_VERSION: {
    retry: false,
    exitCode: 2,
    cause: "The vault was written by a newer version.",
    nextStep: "Upgrade afterimage on this host.",
  },
  VAULT_FULL: {
    retry: true,
    exitCode: 2,
    cause: "The vault takes no further group.",
    nextStep: "Raise `groupsMax` in the vault's configuration, or use another vault.",
  },
  CONTROL_PROTOCOL: {
    retry: false,
    exitCode: 2,
    cause: "The vault's control socket carried something that is no request or no answer.",
    nextStep: "Check that the command and the running `afterimage run` are of one version.",
  },
  CONTROL_FAILED: {
    retry: true,
    exitCode: 2,
    cause:
      "The process that writes to the vault could not do what it was asked, or ended meanwhile.",
    nextStep: "Read that process's log; then run the command again.",
  },
  GROUP_UNKNOWN: {
    retry: false,
    exitCode: 2,
    cause: "The vault has no group of that name.",
    nextStep: "`afterimage status VAULT` lists the groups.",
  },
  POINT_UNKNOWN: {
    retry: false,
    exitCode: 2,
    cause: "The group has no recovery point of that name.",
    nextStep: "`afterimage points VAULT GROUP` lists the points.",
  },
  POINT_RETIRED: {
    retry: false,
    exitCode: 2,
    cause: "The recovery point was retired by retention or thinning.",
    nextStep: "`afterimage points VAULT GROUP` lists the points that remain.",
  },
  POINT_PINNED: {
    retry: true,
    exitCode: 2,
    cause: "An open view needs what this would change.",
    nextStep: "Close the mount, boot or export that the message names, or wait for it.",
  },
  SEAL_REFUSED: {
    retry: false,
    exitCode: 2,
    cause: "The point does not follow the newest point that the vault holds.",
    nextStep: "Ask the vault for its head and cut a new point; no data is lost by the refusal.",
  },
  DELTA_CORRUPT: {
    retry: false,
    exitCode: 1,
    cause: "A delta file does not read back as it was sealed.",
    nextStep: "Run `afterimage verify`; it names the points lost and the points still good.",
  },
  DELTA_MISSING: {
    retry: false,
    exitCode: 1,
    cause: "A delta file that the ledger knows is not there.",
    nextStep: "Put the file back, or run `afterimage verify` to see which points are still good.",
  },
  DELTA_VERSION: {
    retry: false,
    exitCode: 2,
    cause: "A delta file was written by a newer version.",
    nextStep: "Upgrade afterimage on this host.",
  },
  LEDGER_CORRUPT: {
    retry: false,
    exitCode: 1,
    cause: "The ledger's chain of records does not hold.",
    nextStep:
      "Keep the file as evidence; run `afterimage verify` to see which points are still good.",
  },
  BASE_CORRUPT: {
    retry: false,
    exitCode: 1,
    cause: "A block of the base does not have the hash it was written with.",
    nextStep: "Run `afterimage scrub` to find all such blocks, then resync the disk.",
  },
  // -- QEMU
  QMP_MISSING: {
    retry: true,
    exitCode: 2,
    cause: "The machine's QMP socket is not there or nobody listens on it.",
    nextStep: "Start the machine, or correct `qmp` in the configuration.",
  },
  QMP_DENIED: {
    retry: false,
    exitCode: 2,
    cause: "The operating system refused access to the QMP socket.",
    nextStep: "Run afterimage as a user that may open the socket.",
  },
  QMP_BUSY: {
    retry: true,
    exitCode: 2,
    cause: "The QMP socket is held by another client and gives no greeting.",
    nextStep: "Give afterimage a QMP socket of its own (`-qmp unix:PATH,server=on,wait=off`).",
  },
  QMP_CLOSED: {
    retry: true,
    exitCode: 2,
    cause: "QEMU closed the connection: the machine stopped, or was stopped.",
    nextStep: "See QEMU's own log; the next cycle starts from the last sealed point.",
  },
  QMP_PROTOCOL: {
    retry: false,
    exitCode: 2,
    cause: "The peer on the QMP socket said something that QMP does not have.",
    nextStep: "Check that the path in the message is a QMP socket, not a monitor for people.",
  },
  QMP_REFUSED: {
    retry: true,
    exitCode: 2,
    cause: "QEMU refused a command.",
    nextStep: "Read QEMU's words in the message; `afterimage doctor` probes what it can do.",
  },
  QEMU_UNSUPPORTED: {
    retry: false,
    exitCode: 2,
    cause: "This QEMU lacks something that replication needs (floor: QEMU 5.2).",
    nextStep: "Upgrade QEMU; `afterimage doctor` lists what is missing.",
  },
  IOTHREAD_UNSAFE: {
    retry: false,
    exitCode: 2,
    cause: "The disk is served by an iothread, where QEMU may abort when an NBD client leaves.",
    nextStep:
      "Remove `iothread=` from the disk's device and restart the machine; nothing was done to it.",
  },
  DISK_UNSUPPORTED: {
    retry: false,
    exitCode: 2,
    cause: "The disk cannot keep a persistent dirty bitmap, and nothing else was allowed for it.",
    nextStep:
      "Convert it to qcow2, or set `tracking: transient` to accept a resync by hash after each restart.",
  },
  DISK_MISSING: {
    retry: true,
    exitCode: 2,
    cause: "The machine has no disk of that name.",
    nextStep: "Correct the disk's `node` or `image` in the configuration.",
  },
  DISK_IN_USE: {
    retry: true,
    exitCode: 2,
    cause: "The image is locked by another process.",
    nextStep: "Let the process that holds the image finish, or configure the machine's QMP socket.",
  },
  BITMAP_LOST: {
    retry: true,
    exitCode: 2,
    cause: "The bitmap that names the vault's head is missing, inconsistent or another's.",
    nextStep: "Nothing to do: the disk is resynced by hash and only what differs is stored.",
  },
  SCRATCH_FULL: {
    retry: true,
    exitCode: 2,
    cause:
      "The guest overwrote more than the scratch cap while a point was being read; the point was given up.",
    nextStep:
      "Raise `scratch.capBytes`; the guest was not affected and the next point carries everything.",
  },
  BARRIER_FAILED: {
    retry: true,
    exitCode: 2,
    cause: "The machines of the group could not be held still together within the bound.",
    nextStep: "The machines run again; look for one whose QMP answers slowly.",
  },
  // -- NBD
  NBD_UNREACHABLE: {
    retry: true,
    exitCode: 2,
    cause: "Nobody answers at the NBD address.",
    nextStep: "Start the NBD server, or correct the address in the message.",
  },
  NBD_PROTOCOL: {
    retry: false,
    exitCode: 2,
    cause: "The NBD peer said something the protocol does not allow.",
    nextStep: "Check that the address is an NBD server or client.",
  },
  NBD_REFUSED: {
    retry: false,
    exitCode: 2,
    cause: "The NBD server refused the export or an option.",
    nextStep: "Check the export's name in the message.",
  },
  NBD_CLOSED: {
    retry: true,
    exitCode: 2,
    cause: "The NBD connection ended before the work did.",
    nextStep: "Check that the peer is alive; the next cycle starts from the last sealed point.",
  },
  NBD_FAILED: {
    retry: true,
    exitCode: 2,
    cause: "The NBD server could not do a read or write.",
    nextStep: "See the error number in the message and the server's own log.",
  },
  ...sitesFaults,
  // -- recovery
  GUEST_FAILED: {
    retry: false,
    exitCode: 1,
    cause: "A machine started from a point did not become ready.",
    nextStep: "Read the console excerpt in the message; try an older point.",
  },
} as const satisfies Record<string, FaultEntry>;

/** A code of the table. */
export type FaultCode = keyof typeof faultTable;
