import { faultWithin } from "../base/fault.ts";
import type { ReplicatorIdentity } from "../tls/replicator-identity.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";

/** Renews the certificate whenever the time comes, until the signal; a renewal that fails is an alarm and is tried again. */
export async function keepIdentityFresh(options: {
  readonly identity: ReplicatorIdentity;
  readonly signal: AbortSignal;
  readonly log: EventLog;
  readonly alarms: AlarmBook;
}): Promise<void> {
  const { identity, signal, log, alarms } = options;
  try {
    await identity.keepFresh({
      signal,
      onRenewed: (notAfterMs) => {
        alarms.clear("certificate");
        log.note("info", "The certificate was renewed.", { notAfterMs });
      },
      onFailed: (error) => {
        const fault = faultWithin(error);
        if (fault === null) throw error;
        alarms.raise("certificate", "warning", fault);
        const facts = { ...faultFacts(fault), notAfterMs: identity.notAfterMs };
        log.note("warn", "The certificate could not be renewed yet.", facts);
      },
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
