"""The store in a database beside the store in files, and beside what the database does by itself."""

import contextlib
import functools
import json
import shutil
import subprocess
import sys
import time
import uuid

import live
import peers
import posting
import reading
from peers import FORM, wrk
from rig import BINARY, LOAD_CORE, ROOT, SCRATCH, Row, get, in_turns, limit, median, per_second, pinned, say, verdict

PROGRAM = SCRATCH / "catchat-mysql"
POST_MARK = 1.3
ACROSS_MARK_MS = 500.0
TICK_ROOMS, TICK_MARK_MS = 10_000, 10.0
# As long as the server takes to ask for each room by its name, and longer.
TICK_S = 8
# What the database says of the question that a server asks at each tick.
TICKS = """SELECT SUM(COUNT_EXECUTE), SUM(SUM_TIMER_EXECUTE) / 1e9, MAX(MAX_TIMER_EXECUTE) / 1e9
    FROM performance_schema.prepared_statements_instances WHERE SQL_TEXT LIKE '%changed > NOW%'"""


def build():
    """The program with the store in a database, beside the one without."""
    peers.build("--features", "mysql")
    shutil.copy(BINARY, PROGRAM)


def catchat(store, name="bench"):
    """The server under test."""
    return peers.catchat(store, name, PROGRAM)


@functools.cache
def _transactions():
    """The path of the program in transactions.rs, built."""
    command = ["cargo", "build", "--release", "--locked", "--features", "mysql", "--bench", "transactions",
               "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "transactions":
            return message["executable"]
    sys.exit(f"bench: the transactions do not build\n{done.stderr}")


def _kind():
    """MySQL where containers run, else MariaDB."""
    docker = shutil.which("docker") and subprocess.run(
        ["docker", "image", "inspect", "mysql:9.7"], capture_output=True, check=False).returncode == 0
    return "mysql" if docker else "mariadb"


@contextlib.contextmanager
def database():
    """A database server of its own, as tests/databases starts it: its kind and the URL of an empty database."""
    kind, home = _kind(), SCRATCH / "database"
    script = ROOT / "tests" / "databases"
    started = subprocess.run([script, "start", kind, home], stdout=subprocess.PIPE, text=True, check=True)
    url = started.stdout.strip()
    try:
        name = f"bench_{uuid.uuid4().hex[:8]}"
        query(f"{url}/", f"CREATE DATABASE {name}")
        yield kind, f"{url}/{name}"
    finally:
        subprocess.run([script, "stop", kind, home], check=True)


def query(url, statement):
    """The rows that the database answers with, as lists of texts; fails where it says an error."""
    server, _, name = url.rpartition("/")
    address, _, port = server.rpartition(":")
    password = address.removeprefix("mysql://root:").rpartition("@")[0]
    done = subprocess.run(
        ["mariadb", "--no-defaults", "--skip-ssl", "--host=127.0.0.1", f"--port={port}", "--user=root",
         "--batch", "--skip-column-names", f"--database={name}", f"--execute={statement}"],
        env={"MYSQL_PWD": password, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def _commits(server):
    """Commits and lines so far, as the server counts them."""
    counters = {}
    for line in get(server.port, "/-/metrics")[2].decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name in ("catchat_commits_total", "catchat_lines_appended_total"):
            counters[name] = float(value)
    return counters["catchat_commits_total"], counters["catchat_lines_appended_total"]


def posts(options):
    """Durable posts on 64 connections: in the database, beside the same transactions without a server, and in files."""
    connections = 64
    with database() as (kind, url), catchat(url) as server, catchat(posting._empty("posting"), "files") as files:
        say(f"durable posts to one room in {kind}, {connections} connections")
        posting._check_statuses(server, "/chat/room", connections, {"201"})

        def ours(where):
            figures, _ = wrk(where, "/chat/room", connections, options.seconds, "post", FORM)
            if figures["errors"]:
                sys.exit(f"bench: {figures['errors']} posts failed")
            # What the database takes is no disturbance.
            return figures["per_second"], 0.0

        before = _commits(server)
        first = ours(server)[0]
        commits, lines = (b - a for a, b in zip(before, _commits(server)))
        batch = max(1, round(lines / commits))
        say(f"  {batch} lines a transaction at {first:,.0f}/s")

        def bare():
            command = pinned(LOAD_CORE, [_transactions(), url, batch, options.seconds])
            text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            figures = {k: int(v) for k, v in (pair.split("=") for pair in text.split())}
            rate = figures["lines"] * 1e6 / figures["microseconds"]
            say(f"  bare     {rate:>10,.0f}/s")
            return rate, 0.0

        turns = {"catchat": lambda: ours(server), "bare": bare, "files": lambda: ours(files)}
        results = {name: median(values) for name, values in in_turns(options, turns).items()}
    ratio = results["bare"] / results["catchat"]
    what = f"durable posts to one room in {kind}, {connections} connections"
    row = Row(what, per_second(results["catchat"]), f"the same transactions of {batch} lines bare {per_second(results['bare'])}",
              f"{ratio:.2f} × bare", f"≤ {POST_MARK} ×", verdict(ratio <= POST_MARK))
    return [row, _beside_files(what, results["catchat"], results["files"])]


def _beside_files(what, ours, files):
    return Row(what, per_second(ours), f"in files {per_second(files)}", f"{ours / files:.2f} × files")


def reads(options):
    """The unchanged poll, and reading 650 KB, each beside the same in files."""
    rows = []
    data = posting._empty("reading")
    log = data / "room.log"
    count = reading.SIZES["650k"] // len(reading.LINE.format(0))
    log.write_text("".join(reading.LINE.format(n) for n in range(count)))
    with database() as (kind, url):
        subprocess.run([PROGRAM, "copy", data, url], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with catchat(url) as server, catchat(data, "files") as files:
            etag = get(server.port, "/chat/room")[1]["ETag"]
            for what, mode in ((f"unchanged poll (304) in {kind}", ("header", "If-None-Match", etag)),
                               (f"read a log of 650 KB in {kind}", ("get",))):
                say(what)

                def rate(where, mode=mode):
                    figures, _ = wrk(where, "/chat/room", 64, options.seconds, *mode)
                    return figures["per_second"], 0.0

                turns = {"catchat": lambda: rate(server), "files": lambda: rate(files)}
                results = {name: median(values) for name, values in in_turns(options, turns).items()}
                rows.append(_beside_files(what, results["catchat"], results["files"]))
    return rows


def across(options):
    """Posted on one server, seen on another that shares the database."""
    with database() as (kind, url):
        say(f"posted on one server, seen on another, by {kind}")
        results = in_turns(options, {"catchat": lambda: (live.across_turn(url, options.seconds, PROGRAM)[0], 0.0)})["catchat"]
    p50, p99 = (median([r[key] for r in results]) / 1000 for key in ("p50_us", "p99_us"))
    return [Row(f"posted on one server, seen on another by {kind}: p50", f"{p50:.0f} ms"),
            limit(f"posted on one server, seen on another by {kind}: p99", p99, ACROSS_MARK_MS, "{:.0f} ms".format)]


def _ticks(url, changed):
    """How long the ticks take the database while so many rooms have changed lately: mean and longest, in ms."""
    query(url, f"UPDATE rooms SET changed = NOW(6) - INTERVAL 1 HOUR; "
               f"UPDATE rooms SET changed = NOW(6) + INTERVAL 1 HOUR ORDER BY id LIMIT {changed}")
    time.sleep(1)
    query(url, "TRUNCATE performance_schema.prepared_statements_instances")
    time.sleep(TICK_S)
    (count, total, longest), = query(url, TICKS)
    mean = float(total) / int(count)
    say(f"  {changed:6} changed: {count} ticks, {mean:.2f} ms each, the longest {float(longest):.2f} ms")
    return mean, float(longest)


def tick(_):
    """The question of a server with streams in many rooms: which of them have changed?"""
    with database() as (kind, url):
        say(f"which of {TICK_ROOMS:,} rooms have changed, in {kind}")
        if kind != "mysql":
            say("  skipped: MariaDB is started here without the performance schema, which measures it")
            return []
        with catchat(url) as server:  # makes the tables
            names = ((f"('room{room}')" for room in range(start, start + 1_000)) for start in range(0, TICK_ROOMS, 1_000))
            for some in names:
                query(url, f"INSERT INTO rooms (name) VALUES {', '.join(some)}")
            query(url, "ANALYZE TABLE rooms")
            with live.Client(server, "/chat/room{}?tail=0", "/chat/room{}", TICK_ROOMS) as client:
                client.ask("subscribe", TICK_ROOMS)
                rows = []
                for what, changed in (("one", 1), ("all", TICK_ROOMS)):
                    mean, longest = _ticks(url, changed)
                    row = limit(f"database time of a tick of {TICK_ROOMS:,} watched rooms in {kind}, {what} changed",
                                mean, TICK_MARK_MS, "{:.2f} ms".format)
                    row.peer = f"the longest {longest:.2f} ms"
                    rows.append(row)
    return rows
