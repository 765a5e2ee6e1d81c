/** Where a command writes. Results go to `out`, everything for a person who waits to `err`. */
export interface Terminal {
  readonly isErrorInteractive: boolean;
  /** Writes whole lines to stdout. */
  out(text: string): void;
  /** Writes to stderr, without adding a line's end. */
  err(text: string): void;
}

/** This process's terminal. */
export function processTerminal(): Terminal {
  return {
    isErrorInteractive: process.stderr.isTTY,
    out: (text) => void process.stdout.write(`${text}\n`),
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
    out: (text) => {
      out += `${text}\n`;
    },
    err: (text) => {
      err += text;
    },
    stdout: () => out,
    stderr: () => err,
  };
}
