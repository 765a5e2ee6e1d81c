import { askWriter } from "../control/client.ts";
import { type WriterState, writerStateSchema } from "../control/writer-state.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import type { CommandContext } from "./command-context.ts";

const answerTimeoutMs = 3000;

/** Null: nobody runs there. "silent": somebody does and gives no answer. */
export type AskedState = WriterState | "silent" | null;

/** Asks the process that runs in a vault or state directory how it is. One that hangs must not keep a reader waiting. */
export async function askForState(context: CommandContext, directory: string): Promise<AskedState> {
  const path = controlSocket(directory);
  const late = new AbortController();
  const answered = new AbortController();
  context.clock.sleep(answerTimeoutMs, { signal: answered.signal }).then(
    () => late.abort(),
    () => {}, // It answered.
  );
  const signal = AbortSignal.any([context.signal, late.signal]);
  try {
    const answer = await askWriter({ path, request: { verb: "state" }, signal });
    return answer === null ? null : writerStateSchema.parse(answer.result);
  } catch (error) {
    if (late.signal.aborted && !context.signal.aborted) return "silent";
    throw error;
  } finally {
    answered.abort();
  }
}
