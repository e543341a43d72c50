"""Durable posts: against nchan's publish in memory, the naive Flask chat, and the bare disk."""

import contextlib
import os
import shutil
import statistics
import sys
import time

from peers import FORM, catchat, flask, nchan, wrk
from rig import SCRATCH, SERVER_CORE, Row, get, in_turns, median, per_second, say, verdict, versus

MARKS = {64: 0.7, 256: 0.9}
FLASK_MARK = 20.0
ROOMS = 1_000
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}
# A lone post costs its sync, and beside it what a request costs anyway: this much more at most.
ALONE_MARK = 1.3
BARE_LINE = b"[2018-02-25 14:00:51] omri: hi everybody\n"


def _empty(name):
    data = SCRATCH / name
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    return data


def _lines(data):
    total = 0
    for log in data.glob("*.log"):
        with open(log, "rb") as file:
            while chunk := file.read(1 << 20):
                total += chunk.count(b"\n")
    return total


def _check_statuses(server, path, connections, allowed):
    """A short run in which every answer's status is looked at."""
    figures, _ = wrk(server, path, connections, 1, "statuses", FORM)
    wrong = {s: n for s, n in figures["statuses"].items() if s not in allowed}
    if wrong or figures["errors"]:
        sys.exit(f"bench: {server.name} answers {path} with {wrong} and {figures['errors']} errors, "
                 f"not only with {' or '.join(allowed)}")


def _post(server, path, connections, seconds, data, *mode):
    """A run of posts; where there are logs, every answered post must be a line in them."""
    before = _lines(data) if data else 0
    figures, others = wrk(server, path, connections, seconds, *mode)
    if figures["errors"]:
        sys.exit(f"bench: {server.name} failed {figures['errors']} posts")
    if data:
        added = _lines(data) - before
        if not figures["requests"] <= added <= figures["requests"] + connections:
            sys.exit(f"bench: {server.name} answered {figures['requests']} posts, its logs grew by {added} lines")
    return figures, others


def _rate(*arguments):
    figures, others = _post(*arguments)
    return figures["per_second"], others


def one_room(options, connections):
    """Posts to one room, against nchan; on 64 connections against Flask as well."""
    say(f"posts to one room, {connections} connections")
    data, naive = _empty("posting"), _empty("naive")
    with contextlib.ExitStack() as stack:
        turns = {}

        def side(server, path, logs, allowed):
            _check_statuses(server, path, connections, allowed)
            turns[server.name] = lambda: _rate(server, path, connections, options.seconds, logs, "post", FORM)

        if options.ours:
            side(stack.enter_context(catchat(data)), "/chat/room", data, {"201"})
        if options.peers:
            side(stack.enter_context(nchan()), "/publish", None, {"201", "202"})
            if connections == 64:
                side(stack.enter_context(flask(naive)), "/chat/room", naive, {"201"})
        results = {name: median(values) for name, values in in_turns(options, turns).items()}
    ours = results.get("catchat")
    what = f"durable posts to one room, {connections} connections"
    rows = [versus(what, ours, results.get("nchan"), "nchan", MARKS[connections], per_second)]
    if "flask" in results:
        rows.append(versus(what, ours, results["flask"], "Flask", FLASK_MARK, per_second))
    return rows


def many_rooms(options):
    """Posts spread over many rooms: each wants a sync of its own."""
    if not options.ours:
        return []
    rows = []
    for connections in MARKS:
        say(f"posts to {ROOMS} rooms, {connections} connections")
        data = _empty("posting")
        with catchat(data) as server:
            mode = ("rooms", FORM, str(ROOMS))
            _post(server, "/", connections, 1, data, *mode)
            results = in_turns(options, {"catchat": lambda s=server, c=connections, d=data, m=mode: _rate(
                s, "/", c, options.seconds, d, *m)})
        rows.append(Row(f"durable posts to {ROOMS:,} rooms, {connections} connections",
                        per_second(median(results["catchat"]))))
    return rows


def _bare(path, seconds):
    """Median time in µs of open, append, fdatasync, close, on the server's core."""
    took = []
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter_ns()
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, BARE_LINE)
            os.fdatasync(file)
            os.close(file)
            took.append((time.perf_counter_ns() - start) / 1000)
    finally:
        os.sched_setaffinity(0, cores)
    result = statistics.median(took)
    say(f"  bare     {result:.0f} us, {len(took)} times")
    return result, 0.0


def alone(options):
    """One client posting alone: its latency beside that of the bare system calls."""
    say("one client posting alone")
    data, bare = _empty("posting"), _empty("bare")
    with contextlib.ExitStack() as stack:
        turns = {"bare": lambda: _bare(bare / "room.log", options.seconds)}
        if options.ours:
            server = stack.enter_context(catchat(data))
            get(server.port, "/chat/room", "POST", FORM, FORM_TYPE)

            def latency():
                figures, others = _post(server, "/chat/room", 1, options.seconds, data, "post", FORM)
                return figures["p50_us"], others

            turns["catchat"] = latency
        results = {name: median(values) for name, values in in_turns(options, turns).items()}
    ours, bare_us = results.get("catchat"), results["bare"]
    row = Row("one client posting alone, p50", f"{ours:,.0f} µs" if ours else "",
              f"open, append, fdatasync: {bare_us:,.0f} µs", mark=f"≤ {ALONE_MARK} ×")
    if ours:
        row.ratio = f"{ours / bare_us:.2f} × the bare calls"
        row.verdict = verdict(ours / bare_us <= ALONE_MARK)
    return [row]
