/**
 * Runs all groups beside each other until all have ended. What is no fault is a bug of ours: then all groups stop, in order, before
 * anything beneath them is closed, and it is thrown.
 */
export async function runTogether<Group, Summary>(
  groups: readonly Group[],
  signal: AbortSignal,
  run: (group: Group, signal: AbortSignal) => Promise<Summary>,
): Promise<readonly Summary[]> {
  const stopping = new AbortController();
  const running = AbortSignal.any([signal, stopping.signal]);
  const ended = await Promise.allSettled(
    groups.map(async (group) => {
      try {
        return await run(group, running);
      } catch (error) {
        stopping.abort(error);
        throw error;
      }
    }),
  );
  return ended.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}
