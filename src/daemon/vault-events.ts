import type { RefusedPeer } from "../tls/refusal-log.ts";
import type { ReceiverEvent } from "../transport/receiver.ts";
import type { EventLog } from "./event-log.ts";

/** Writes what happened at the vault's end of its links into the log. */
export function noteReceiverEvent(log: Pick<EventLog, "note">, event: ReceiverEvent): void {
  const { name, address } = event.peer;
  const from = { peer: name, address };
  switch (event.kind) {
    case "session-opened":
      log.note("info", "A replicator connected.", from);
      break;
    case "session-ended":
      log.note("info", "A replicator's session ended.", { ...from, reason: event.reason });
      break;
    case "channel-closed": {
      if (event.fault === null) break;
      const { code, message: cause } = event.fault;
      const level = code === "LINK_PROTOCOL" ? "warn" : "info";
      log.note(level, "A connection ended.", { ...from, code, cause });
      break;
    }
    case "group-taken-over": {
      const message = "A newer session of the replicator took a group over.";
      log.note("info", message, { ...from, group: event.group });
      break;
    }
    case "channel-open":
      break;
  }
}

/** Writes a connection that was refused into the log; the peer itself heard nothing of why. */
export function noteRefused(log: Pick<EventLog, "note">, refused: RefusedPeer): void {
  const { address, reason, claimed } = refused;
  log.note("warn", "A connection was refused.", { address, reason, claimed });
}
