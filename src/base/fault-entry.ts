/** What is known of a fault before it happens. */
export interface FaultEntry {
  /** May the same attempt succeed later without a person doing something? */
  readonly retry: boolean;
  /** Exit code of a command that ends with this fault: 1 a check failed, 2 usage or world error. */
  readonly exitCode: 1 | 2;
  /** What it means, one sentence. */
  readonly cause: string;
  /** What to do next, one sentence to the administrator. */
  readonly nextStep: string;
}
