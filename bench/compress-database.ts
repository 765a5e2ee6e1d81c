import { execFile } from "node:child_process";
import { chmod, chown, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
/** Where Debian's package postgresql-15 has its programs. */
const programs = "/usr/lib/postgresql/15/bin";
const branches = 4;
const transactionsPerClient = 3000;
const clients = 4;

/**
 * Orders with keys, names, amounts, notes of dictionary length, and JSON, beside pgbench's own tables: those alone are padded
 * with blanks, which would flatter any codec.
 */
const ordersSql = `
  create table orders(id bigint primary key, customer uuid, placed timestamptz, amount numeric(12,2), note text, attributes jsonb);
  insert into orders
    select n, md5('c' || n % 40000)::uuid, timestamptz '2026-01-01' + n * interval '37 seconds', (random() * 10000)::numeric(12,2),
      substr(md5(random()::text), 1, 4 + (random() * 20)::int) || ' ' || (array['paid', 'open', 'sent', 'held'])[1 + n % 4],
      jsonb_build_object('channel', (array['web', 'shop', 'phone'])[1 + n % 3], 'weight', round((random() * 40)::numeric, 3), 'reference', md5(n::text))
    from generate_series(1, 250000) n;
  create index on orders(customer);
  create index on orders(placed);
  update orders set amount = amount * 1.19 where id % 7 = 0;
  delete from orders where id % 23 = 0;`;

/**
 * A PostgreSQL 15 data directory beneath `within` after a load: tables, indexes, dead rows and the log of writes. The server is
 * stopped again. Rejects when PostgreSQL is not installed.
 */
export async function postgresData(within: string): Promise<string> {
  const home = join(within, "postgres");
  const data = join(home, "data");
  await mkdir(home);
  const user = await serverUser();
  if (user !== null) {
    await chown(home, user.uid, user.gid);
    // A directory of mkdtemp lets nobody else through.
    await chmod(within, 0o711);
  }
  const pg = (program: string, ...words: readonly string[]) => {
    const command = [join(programs, program), ...words];
    // PostgreSQL refuses to run as root.
    const drop = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"];
    const [file, ...rest] = user === null ? command : ["setpriv", ...drop, ...command];
    return run(file!, rest, { cwd: home, env: { ...process.env, LC_ALL: "C" } });
  };
  await pg("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync");
  const settings = ["listen_addresses=", `unix_socket_directories=${home}`, "max_wal_size=128MB"];
  const options = [...settings, "fsync=off"].map((setting) => `-c ${setting}`).join(" ");
  await pg("pg_ctl", "-D", data, "-w", "-l", join(home, "log"), "-o", options, "start");
  const to = ["-h", home, "-U", "postgres", "postgres"];
  try {
    await pg("pgbench", "-i", "-q", "-s", String(branches), ...to);
    await pg("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", ordersSql, ...to);
    const load = ["-c", String(clients), "-t", String(transactionsPerClient)];
    await pg("pgbench", "-n", ...load, ...to);
  } finally {
    await pg("pg_ctl", "-D", data, "-w", "-m", "fast", "stop");
  }
  // What a replicated disk would hold too, but no database: programs' own messages.
  await rm(join(home, "log"), { force: true });
  return data;
}

async function serverUser(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null;
  const { stdout } = await run("getent", ["passwd", "postgres"]);
  const [, , uid, gid] = stdout.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}
