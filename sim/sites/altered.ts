import type { JournalIntake, PointWriter } from "../../src/core/journal.ts";
import type { SpooledIntake } from "../../src/engine/spool/spooled-intake-options.ts";

/** The intake with some of its calls replaced. */
export function intakeWith(intake: JournalIntake, changes: Partial<JournalIntake>): JournalIntake {
  return {
    head: () => intake.head(),
    ask: () => intake.ask(),
    begin: (header) => intake.begin(header),
    stage: (request) => intake.stage(request),
    confirmCurrent: (confirmation) => intake.confirmCurrent(confirmation),
    owedSince: () => intake.owedSince(),
    [Symbol.asyncDispose]: () => intake[Symbol.asyncDispose](),
    ...changes,
  };
}

/** The same of one with a spool. */
export function spooledIntakeWith(
  intake: SpooledIntake,
  changes: Partial<SpooledIntake>,
): SpooledIntake {
  return {
    ...intakeWith(intake, {}),
    begin: (header) => intake.begin(header),
    run: (options) => intake.run(options),
    status: () => intake.status(),
    ...(intake.plan && { plan: (outlook) => intake.plan!(outlook) }),
    ...(intake.nextSequence && { nextSequence: () => intake.nextSequence!() }),
    ...(intake.acknowledged && { acknowledged: () => intake.acknowledged!() }),
    ...changes,
  };
}

/** The writer with some of its calls replaced. */
export function writerWith(writer: PointWriter, changes: Partial<PointWriter>): PointWriter {
  return {
    write: (disk, offsetBytes, data) => writer.write(disk, offsetBytes, data),
    zero: (disk, offsetBytes, lengthBytes) => writer.zero(disk, offsetBytes, lengthBytes),
    writeStored: (disk, chunk) => writer.writeStored(disk, chunk),
    adopt: (staged) => writer.adopt(staged),
    seal: (sealing) => writer.seal(sealing),
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
    ...changes,
  };
}
