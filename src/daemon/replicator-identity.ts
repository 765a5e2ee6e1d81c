import { faultWithin } from "../base/fault.ts";
import type { ReplicatorIdentity } from "../tls/replicator-identity.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { EventLog } from "./event-log.ts";
import { faultFacts } from "./event-record.ts";

/** Renews the certificate whenever the time comes, until disposed; a renewal that fails is an alarm and is tried again. */
export function keepIdentityFresh(options: {
  readonly identity: ReplicatorIdentity;
  readonly log: EventLog;
  readonly alarms: AlarmBook;
  /** Hears of a bug of ours. */
  readonly onFailed: (error: unknown) => void;
}): AsyncDisposable {
  const { identity, log, alarms } = options;
  const over = new AbortController();
  const renewing = identity.keepFresh({
    signal: over.signal,
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
  renewing.catch((error: unknown) => {
    if (!over.signal.aborted) options.onFailed(error);
  });
  return {
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await renewing.catch((error: unknown) => {
        if (!over.signal.aborted) throw error;
      });
    },
  };
}
