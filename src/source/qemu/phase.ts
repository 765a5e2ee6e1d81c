/**
 * The steps that leave something in QEMU or in scratch, in their order. `onPhase` hears each before it begins ("sent" right
 * after the freeze was written to the socket; "armed" and "still" only with several machines), so that tests can kill there; a new step belongs in this list.
 */
export const sourcePhases = [
  "reserve",
  "serve",
  "freeze",
  "armed",
  "still",
  "sent",
  "frozen",
  "read",
  "release",
  "exports",
  "jobs",
  "nodes",
  "released",
  "forget",
  "forgotten",
] as const;

export type SourcePhase = (typeof sourcePhases)[number];
