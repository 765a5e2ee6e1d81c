/** Where a command writes. Results go to `out`, everything for a person who waits to `err`. */
export interface Terminal {
  readonly isErrorInteractive: boolean;
  /** Whether a person sees stdout as it is written. */
  readonly isOutInteractive: boolean;
  /** Writes whole lines to stdout. */
  out(text: string): void;
  /** Whether anything was written to stdout. */
  hasOut(): boolean;
  /** Writes to stderr, without adding a line's end. */
  err(text: string): void;
}

/** What a shell says of a program that ended by SIGPIPE. */
const endedByReaderExitCode = 141;

/** This process's terminal. */
export function processTerminal(): Terminal {
  let hasOut = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    // Whoever read us has enough (`… | head`): nobody is left to tell.
    process.exit(endedByReaderExitCode);
  });
  return {
    isErrorInteractive: process.stderr.isTTY,
    isOutInteractive: process.stdout.isTTY,
    out: (text) => {
      hasOut = true;
      process.stdout.write(`${text}\n`);
    },
    hasOut: () => hasOut,
    err: (text) => void process.stderr.write(text),
  };
}

/** A terminal for tests, which keeps what was written. */
export interface RecordedTerminal extends Terminal {
  readonly stdout: () => string;
  readonly stderr: () => string;
}

/** Keeps what is written; nobody is watching. */
export function recordedTerminal(): RecordedTerminal {
  let out = "";
  let err = "";
  return {
    isErrorInteractive: false,
    isOutInteractive: false,
    out: (text) => {
      out += `${text}\n`;
    },
    hasOut: () => out !== "",
    err: (text) => {
      err += text;
    },
    stdout: () => out,
    stderr: () => err,
  };
}
