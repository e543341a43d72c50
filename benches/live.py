"""Live streams: memory for each, latency and throughput of the fan-out, against nchan."""

import contextlib
import functools
import select
import shutil
import subprocess
import sys
import time

from peers import build_load_client, catchat, nchan
from rig import (BINARY, LOAD_CORE, SCRATCH, Meter, Row, cpu_s, in_turns, limit, median, per_second, rss_kb, say, spawn,
                 stop, verdict, versus)

# Messages a second, for each number of subscribers.
RATES = {1_000: 50, 8_000: 20}
MEMORY_MARK, LATENCY_MARK, SATURATION_MARK = 0.3, 1.0, 1.8
SATURATED = 8_000
WARM_UP = 10  # subscribers that are there before memory is measured
SETTLE_S = 1.0
REPLY_DEADLINE_S = 120

ACROSS_SUBSCRIBERS, ACROSS_RATE = 10, 100
ACROSS_MARK_MS = 5.0

ROOMS = 10_000
ROOMS_RATE = 5
# Longer than the time between two pings, so that each stream has had one.
ROOMS_IDLE_S = 16
# "No more", but for what two runs of the same thing differ by here.
ROOMS_MARK = 1.05
ROOMS_ROUNDS = 2


@functools.cache
def client_program():
    """The load client, built once a run."""
    return build_load_client()


class Client:
    """The load client: subscribers of one server, posters to the same or another one."""

    def __init__(self, server, subscribe_path, post_path, rooms=1, post_to=None):
        post_to = post_to or server
        self.child = spawn([client_program(), "--rooms", rooms,
                            "--subscribe", f"127.0.0.1:{server.port}", "--subscribe-path", subscribe_path,
                            "--post", f"127.0.0.1:{post_to.port}", "--post-path", post_path],
                           LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.child)

    def ask(self, *words):
        """Send one command, give the figures of the answer."""
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        if not select.select([self.child.stdout], [], [], REPLY_DEADLINE_S)[0]:
            sys.exit(f"bench: the load client does not answer '{words[0]}' within {REPLY_DEADLINE_S} s")
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"bench: the load client failed at '{words[0]}'")
        return {k: int(v) for k, v in (pair.split("=") for pair in line.split()[1:])}

    def post(self, rate, seconds):
        """Post and check that everything arrived."""
        figures = self.ask("post", rate, seconds)
        figures["lossy"] = figures["delivered"] != figures["expected"] or figures["failed"] or figures["lost"]
        return figures


def _empty(name):
    data = SCRATCH / name
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    return data


@contextlib.contextmanager
def _side(name):
    """A fresh server and the paths of its room."""
    if name == "catchat":
        with catchat(_empty("live")) as server:
            yield server, "/chat/room?tail=0", "/chat/room"
    else:
        with nchan() as server:
            yield server, "/subscribe", "/publish"


def _fanout_turn(name, subscribers, seconds):
    """One server, so many subscribers: what each costs, then how fast each is told."""
    with _side(name) as (server, subscribe_path, post_path), Client(server, subscribe_path, post_path) as client:
        client.ask("subscribe", WARM_UP)
        client.post(20, 0.5)
        time.sleep(SETTLE_S)
        before = rss_kb(server.pid)
        client.ask("subscribe", subscribers - WARM_UP)
        time.sleep(SETTLE_S)
        memory = (rss_kb(server.pid) - before) / (subscribers - WARM_UP)
        meter = Meter(server.pid, load=client.child.pid)
        figures = client.post(RATES[subscribers], seconds)
        server_cpu, load_cpu, others = meter.read()
    say(f"  {name:8} {memory:.2f} kB each; p50 {figures['p50_us'] / 1000:.1f} ms, p99 {figures['p99_us'] / 1000:.1f} ms, "
        f"{figures['per_second']:,}/s; cpu: server {server_cpu:.0f} %, client {load_cpu:.0f} %, others {others:.0f} %")
    if figures["lossy"]:
        say(f"    {name}: {figures['delivered']:,} of {figures['expected']:,} delivered, "
            f"{figures['failed']} posts failed, {figures['lost']} streams ended")
        if name == "catchat":
            sys.exit("bench: catchat lost a line")
    return figures | {"memory": memory}, others


def fanout(options, subscribers):
    """Idle memory, latency and, with many subscribers, deliveries a second."""
    rate = RATES[subscribers]
    say(f"{subscribers} subscribers of one room, {rate} messages a second")
    names = ["catchat"] * options.ours + ["nchan"] * options.peers
    results = in_turns(options, {
        n: functools.partial(_fanout_turn, n, subscribers, options.seconds) for n in names})

    def row(what, key, mark, show, most=True):
        ours, peer = (median([r[key] for r in results.get(n, [])]) for n in ("catchat", "nchan"))
        return versus(what, ours, peer, "nchan", mark, show, most)

    def milliseconds(us):
        return f"{us / 1000:.1f} ms"

    who = f"{subscribers:,} subscribers"
    rows = [
        row(f"memory for each of {who}, idle", "memory", MEMORY_MARK, "{:.2f} kB".format),
        row(f"a line to {who}, {rate}/s: p50", "p50_us", LATENCY_MARK, milliseconds),
        row(f"a line to {who}, {rate}/s: p99", "p99_us", LATENCY_MARK, milliseconds),
    ]
    if subscribers == SATURATED:
        rows.append(row(f"lines delivered to {who}, {rate}/s offered", "per_second", SATURATION_MARK,
                        per_second, most=False))
    return rows


def across_turn(store, seconds, program=BINARY):
    """Posted on one server, seen on another one that shares the store: how long that takes."""
    with catchat(store, "bench-1", program) as here, catchat(store, "bench-2", program) as there, \
            Client(there, "/chat/room?tail=0", "/chat/room", post_to=here) as client:
        client.ask("subscribe", ACROSS_SUBSCRIBERS)
        client.post(20, 0.5)
        meter = Meter(here.pid, there.pid, load=client.child.pid)
        figures = client.post(ACROSS_RATE, seconds)
        others = meter.read()[2]
    say(f"  catchat  p50 {figures['p50_us'] / 1000:.2f} ms, p99 {figures['p99_us'] / 1000:.2f} ms, "
        f"most {figures['max_us'] / 1000:.2f} ms; others {others:.0f} %")
    if figures["lossy"]:
        sys.exit(f"bench: {figures['delivered']:,} of {figures['expected']:,} lines arrived on the other server")
    return figures, others


def across(options):
    """Posted on one server, seen on another one that shares the directory."""
    if not options.ours:
        return []
    say(f"posted on one server, seen on another: {ACROSS_SUBSCRIBERS} subscribers, {ACROSS_RATE} messages a second")
    data = _empty("live")
    results = in_turns(options, {"catchat": lambda: across_turn(data, options.seconds)})["catchat"]
    p50, p99 = (median([r[key] for r in results]) / 1000 for key in ("p50_us", "p99_us"))
    return [Row("posted on one server, seen on another: p50", f"{p50:.2f} ms"),
            limit("posted on one server, seen on another: p99", p99, ACROSS_MARK_MS, "{:.2f} ms".format)]


def _rooms_turn(rooms, seconds):
    """What so many rooms' subscribers cost the server: memory, time idle, time posting."""
    data = _empty("live")
    for room in range(rooms):
        (data / f"room{room}.log").write_text("[2018-02-25 14:00:51] omri: hi everybody!\n")
    with catchat(data) as server, Client(server, "/chat/room{}?tail=0", "/chat/room{}", rooms) as client:
        # One poster's round before, so that what is allocated once is not counted.
        client.ask("subscribe", 1)
        time.sleep(SETTLE_S)
        before = rss_kb(server.pid)
        client.ask("subscribe", ROOMS - 1)
        time.sleep(SETTLE_S)
        memory = (rss_kb(server.pid) - before) / (ROOMS - 1)
        meter = Meter(server.pid, load=client.child.pid)
        idle = cpu_s(server.pid)
        time.sleep(ROOMS_IDLE_S)
        idle = (cpu_s(server.pid) - idle) / ROOMS_IDLE_S
        posting = cpu_s(server.pid)
        figures = client.post(ROOMS_RATE, seconds)
        posting = (cpu_s(server.pid) - posting) / seconds
        others = meter.read()[2]
    if figures["lossy"]:
        sys.exit(f"bench: {figures['delivered']:,} of {figures['expected']:,} lines arrived in {rooms} rooms")
    say(f"  {rooms:6} rooms: {memory:.2f} kB each, idle {1000 * idle:.1f} ms/s, posting {1000 * posting:.1f} ms/s; "
        f"others {others:.0f} %")
    return {"memory": memory, "idle": 1000 * idle, "posting": 1000 * posting}, others


def rooms(options):
    """As many subscribers, each in a room of its own, beside all in one."""
    if not options.ours:
        return []
    say(f"{ROOMS} subscribers in {ROOMS} rooms and in one")
    options = type(options)(options.seconds, min(options.rounds, ROOMS_ROUNDS))
    results = in_turns(options, {
        f"{n} rooms": functools.partial(_rooms_turn, n, options.seconds) for n in (ROOMS, 1)})

    def row(what, key, show):
        many, one = (median([r[key] for r in results[f"{n} rooms"]]) for n in (ROOMS, 1))
        ratio = many / max(one, 1e-9)
        return Row(what, show(many), f"in one {show(one)}", f"{ratio:.2f} × in one" if one else "",
                   f"≤ {ROOMS_MARK:g} ×", verdict(many <= one * ROOMS_MARK))

    who = f"{ROOMS:,} subscribers in {ROOMS:,} rooms"
    return [row(f"{who}: memory for each", "memory", "{:.2f} kB".format),
            row(f"{who}: processor time, idle", "idle", "{:.1f} ms/s".format),
            row(f"{who}: processor time, {ROOMS_RATE} posts a second", "posting", "{:.1f} ms/s".format)]
