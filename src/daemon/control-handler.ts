import { Fault } from "../base/fault.ts";
import type { ControlHandler } from "../control/server.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { GroupName } from "../core/ids.ts";
import type { AlarmBook } from "./alarm-book.ts";
import type { GroupWriter } from "./group-writer.ts";

/** A group of the process. */
export interface ChangeableGroup {
  readonly name: GroupName;
  readonly state: WriterState["groups"][number];
  readonly writer: Pick<GroupWriter, "change">;
}

/** Does for other processes what only the writer may do. */
export function controlHandler(
  groups: readonly ChangeableGroup[],
  about: { readonly startedAtMs: number; readonly alarms: AlarmBook },
): ControlHandler {
  return async (request, options) => {
    if (request.verb === "state") {
      return {
        pid: process.pid,
        startedAtMs: about.startedAtMs,
        role: "up",
        alarms: [...about.alarms.list],
        groups: groups.map((group) => group.state),
      } satisfies WriterState;
    }
    if (!("group" in request)) {
      const message = "the running process writes to the vault by itself and lets nobody connect";
      throw new Fault("VAULT_BUSY", `${message}; stop it first`);
    }
    const group = groups.find(({ name }) => name === request.group);
    if (group === undefined) {
      const message = `the running process does not replicate ${request.group}; stop it to change that group`;
      throw new Fault("VAULT_BUSY", message, { group: request.group });
    }
    return group.writer.change(request, options);
  };
}
