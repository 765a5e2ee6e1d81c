import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";

const lookEveryMs = 1000;
/** ECMA-48: to the top left, and clear to the end of the screen. */
const redraw = "\u001b[H\u001b[2J";

/** Something to show, for programs and for people. */
export interface Shown {
  readonly json: unknown;
  readonly text: string;
}

/**
 * Shows something again each second until the command is interrupted, which is a good end. On a terminal the screen is drawn anew;
 * elsewhere, and as JSON, each look is appended.
 */
export async function watch(
  context: CommandContext,
  options: CommonOptions,
  look: () => Promise<Shown>,
): Promise<void> {
  const { signal, clock, terminal } = context;
  const isDrawn = terminal.isOutInteractive && options.json !== true;
  while (!signal.aborted) {
    try {
      const startedAtMs = clock.monotonicMs();
      const shown = await look();
      if (signal.aborted) return;
      printResult(context, options, { ...shown, text: `${isDrawn ? redraw : ""}${shown.text}` });
      const tookMs = clock.monotonicMs() - startedAtMs;
      await clock.sleep(Math.max(0, lookEveryMs - tookMs), { signal });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
