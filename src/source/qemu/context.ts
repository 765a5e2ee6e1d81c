import type { MachineDescription } from "../../core/point.ts";
import type { Connector } from "./connector.ts";
import type { SourcePhase } from "./phase.ts";
import type { Scratch } from "./scratch.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";

/** What the parts of one group's source share. */
export interface SourceContext {
  readonly options: QemuSourceOptions;
  readonly connector: Connector;
  readonly sessions: Sessions;
  readonly scratch: Scratch;
  /** Begins a step. */
  phase(phase: SourcePhase): Promise<void>;
  /** How to build the machine again, as its QEMU told while it last ran. */
  describe(
    machine: QemuMachineSettings,
    session: Session,
    signal: AbortSignal,
  ): Promise<MachineDescription>;
}
