#!/usr/bin/python3
"""Search by words among a million events of a fleet, in PostgreSQL with pgvector: for `make bench-fleet-search`.

    benches/fleet_search.py --fleet target/release/examples/fleet [--events 1000000] [--kinds ivfflat,hnsw]

Makes events with the example `fleet`, reads them in with the code of examples/fleet/fleet.py (a thousand in a transaction,
as it takes them from a broker), and searches: without an index, and with each kind of index. The recall of an index is the
share of the ten best without it that it finds too. Prints a table, and the same as JSON.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples/fleet"
sys.path.insert(0, str(EXAMPLE))

import fleet  # noqa: E402
import psycopg2  # noqa: E402

SETTINGS = """
shared_buffers = 2GB
maintenance_work_mem = 2GB
max_wal_size = 4GB
checkpoint_timeout = 30min
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", required=True, help="the example's program")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=80)
    parser.add_argument("--kinds", default="ivfflat,hnsw")
    parser.add_argument("--folder", help="where the database lies, about 5 GB for a million [a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.chmod(folder, 0o755)
        script = EXAMPLE / "scratch-database.sh"
        with open(pathlib.Path(folder) / "said", "w+") as said:
            subprocess.run([script, "start", folder], check=True, stdout=said, env={**os.environ, "SETTINGS": SETTINGS})
            said.seek(0)
            database = said.read().strip()
        try:
            outcome = measure(options, database)
        finally:
            subprocess.run([script, "stop", folder], check=True)
    table(outcome)
    print(json.dumps(outcome))


def measure(options, database):
    outcome = {"events": options.events, "load_before": os.getloadavg()[0], "searches": []}
    connection = psycopg2.connect(database)
    with connection, connection.cursor() as cursor:
        cursor.execute(fleet.SCHEMA.read_text())
        cursor.execute("SELECT extversion, version() FROM pg_extension WHERE extname = 'vector'")
        outcome["pgvector"], version = cursor.fetchone()
        outcome["postgresql"] = version.split()[1]
    outcome["load_s"] = load(options, database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE events")
    connection.autocommit = False
    outcome["table_mb"] = megabytes(connection, "pg_table_size('events')")
    asked = subprocess.run([options.fleet, "questions", str(options.questions)], check=True, capture_output=True, text=True,
                           cwd=HERE.parent)
    questions = [json.loads(line) for line in asked.stdout.splitlines()]
    exact, row = search(connection, questions, exact=True)
    outcome["searches"].append({"index": "none", "recall": 1.0, **row})
    print(f"without an index: {row}", file=sys.stderr)
    for kind in options.kinds.split(","):
        begin = time.monotonic()
        fleet.make_indexes(connection, kind)
        built = time.monotonic() - begin
        found, row = search(connection, questions)
        hits = sum(len(set(a) & set(b)) for a, b in zip(exact, found))
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT indexrelname, pg_relation_size(indexrelid) / 1e6, idx_scan FROM pg_stat_user_indexes "
                           "WHERE indexrelname LIKE 'events\\_lookout%'")
            [(name, size, scans)] = cursor.fetchall()
            if not scans:
                raise SystemExit(f"the {kind} index was not used: more events make it worth it")
            size = float(size)
            cursor.execute(f"DROP INDEX {name}")
        outcome["searches"].append({"index": kind, "built_s": built, "index_mb": size,
                                    "recall": hits / sum(map(len, exact)), **row})
        print(outcome["searches"][-1], file=sys.stderr)
    outcome["load_after"] = os.getloadavg()[0]
    return outcome


def load(options, database):
    """Seconds until all events are in the table."""
    store = fleet.Store(database)
    begin = time.monotonic()
    made = subprocess.Popen([options.fleet, "events", str(options.events)], stdout=subprocess.PIPE, text=True,
                            cwd=HERE.parent)
    rows = []
    for number, line in enumerate(made.stdout, 1):
        rows.append(fleet.parse(*line.split("\t", 1)))
        if len(rows) == fleet.WINDOW:
            store.store(rows)
            rows = []
        if number % 100_000 == 0:
            print(f"{number} events after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if rows:
        store.store(rows)
    if made.wait():
        raise SystemExit("the events could not be made")
    return time.monotonic() - begin


def search(connection, questions, exact=False):
    """The names of what was found for each question, and how long it took."""
    found, times = [], []
    for turn in ("warm", "timed"):
        found, times = [], []
        for question in questions[:3] if turn == "warm" else questions:
            begin = time.perf_counter()
            rows = fleet.find(connection, question["bundle"], question["embedding"], 10, exact=exact)
            times.append((time.perf_counter() - begin) * 1e3)
            found.append([(row["device"], row["id"]) for row in rows])
    times.sort()
    return found, {"median_ms": statistics.median(times), "p95_ms": times[round((len(times) - 1) * 0.95)]}


def megabytes(connection, what):
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {what}")
        return cursor.fetchone()[0] / 1e6


def table(outcome):
    print(f"{outcome['events']:,} events, PostgreSQL {outcome['postgresql']}, pgvector {outcome['pgvector']}, "
          f"{datetime.date.today()}, load average {outcome['load_before']:.1f} before, {outcome['load_after']:.1f} after")
    print(f"read in: {outcome['load_s']:.0f} s, {outcome['events'] / outcome['load_s']:.0f} events a second; "
          f"table {outcome['table_mb']:.0f} MB")
    print("\n| index | built in | size | search, median | p95 | recall of the ten best |\n|---|---|---|---|---|---|")
    for row in outcome["searches"]:
        built = f"{row['built_s']:.0f} s | {row['index_mb']:.0f} MB" if "built_s" in row else "|"
        print(f"| {row['index']} | {built} | {row['median_ms']:.1f} ms | {row['p95_ms']:.1f} ms | {row['recall']:.1%} |")


if __name__ == "__main__":
    main()
