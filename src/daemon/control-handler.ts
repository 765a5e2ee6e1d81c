import { Fault } from "../base/fault.ts";
import type { ControlHandler } from "../control/server.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { GroupWriter } from "./group-writer.ts";

/** Does for other processes what only the writer may do. */
export function controlHandler(
  writers: readonly GroupWriter[],
  startedAtMs: number,
): ControlHandler {
  return async (request, options) => {
    if (request.verb === "state") {
      const groups = writers.map((writer) => writer.state);
      return { pid: process.pid, startedAtMs, groups } satisfies WriterState;
    }
    if (!("group" in request)) {
      const message = "the running process writes to the vault by itself and lets nobody connect";
      throw new Fault("VAULT_BUSY", `${message}; stop it first`);
    }
    const writer = writers.find(({ name }) => name === request.group);
    if (writer === undefined) {
      const message = `the running process does not replicate ${request.group}; stop it to change that group`;
      throw new Fault("VAULT_BUSY", message, { group: request.group });
    }
    return writer.change(request, options);
  };
}
