import { ensureGuest } from "./guest-images.ts";

/** Builds the guest before the first test that boots it, so that no test's bound pays for it. */
export async function setup(): Promise<void> {
  const never = new AbortController().signal;
  try {
    await ensureGuest({ signal: never, onStep: (step) => console.error(`guest: ${step}`) });
  } catch (error) {
    // Tests without a guest can still run; those with one will fail with this as their reason.
    console.error(`guest: ${String(error)}`);
  }
}
