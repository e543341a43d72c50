"""The stack while it changes: scaled, rolled, killed, stopped and started again."""

import asyncio
import tempfile
import time
from pathlib import Path

from client import Connection
from load import Load, percentile, wait_for
from stack import in_thread, say

# A second on a quiet machine, where only one stack is tested.
BLACKOUT_P99_S = 5
FIRST_REQUEST_S = 10
IDLE_STOP_S = 5  # half of what Docker gives it
ROLL_SUBSCRIBERS, ROLL_POSTERS = 200, 20


async def an_idle_server_stops_fast(stack):
    container = stack.containers("chat")[0]
    began = time.monotonic()
    stack.docker("stop", container)
    seconds = time.monotonic() - began
    state = stack.inspect(container)["State"]
    assert state["ExitCode"] == 0, state
    stack.make("scale", "N=3")
    assert seconds <= IDLE_STOP_S, f"{seconds:.1f} s"
    return f"{seconds:.2f} s, exit code 0"


async def without_servers_nginx_says_so(stack):
    """At once, in one line, and all is well again when they are back."""
    stack.docker("compose", "stop", "chat")
    connection = Connection(stack.address)
    longest = 0.0
    for method, path, body in (
        ("GET", "/tea", b""),
        ("GET", "/chat/tea", b""),
        ("GET", "/chat/tea?follow", b""),
        ("POST", "/chat/tea", b"username=a&message=b"),
    ):
        began = time.monotonic()
        answer = await connection.ask(method, path, body=body)
        longest = max(longest, time.monotonic() - began)
        assert answer.status in (502, 504), f"{method} {path}: {answer}"
        assert answer.body.startswith(b"no server") and answer.body.count(b"\n") == 1, answer
        assert answer.headers["retry-after"] == "1", answer
    stack.make("scale", "N=3")
    began = time.monotonic()
    while (answer := await connection.ask("GET", "/chat/tea")).status != 200:
        assert time.monotonic() - began < 15, answer
        await asyncio.sleep(0.1)
    connection.close()
    return f"after {longest:.2f} s at most; back {time.monotonic() - began:.1f} s after the servers"


async def scaling_fails_no_request(stack):
    load = Load(stack.address, ["scale-a", "scale-b"], posters=20, subscribers=60)

    async def scale():
        await load.goes_on(60)
        await in_thread(stack.make, "scale", "N=7")
        started = stack.newest_start() - time.time() + time.monotonic()
        await wait_for(lambda: len(load.seen.servers) >= 7, "requests at all seven", 15)
        first = max(load.seen.servers.values()) - started
        await load.goes_on(30)
        await in_thread(stack.make, "scale", "N=2")
        await load.goes_on(60)
        return first

    first = await load.during(scale())
    await in_thread(stack.make, "scale", "N=3")
    await load.check_logs()
    _nothing_failed(load)
    assert first <= FIRST_REQUEST_S, f"the last new server's first request came after {first:.1f} s"
    return (
        f"3 to 7 to 2: {load.seen.good} requests, none failed; the last new server's first"
        f" request {first:.1f} s after its start; {_blackouts(load)}"
    )


async def rolling_fails_no_request(stack):
    rooms = [f"roll-{n}" for n in range(4)]
    load = Load(stack.address, rooms, ROLL_POSTERS, ROLL_SUBSCRIBERS)
    before = set(stack.containers("chat"))
    memory = []

    async def roll():
        await load.goes_on(60)
        began = time.monotonic()
        await in_thread(stack.make, "roll")
        seconds = time.monotonic() - began
        await load.goes_on(60)
        memory.extend(await in_thread(stack.memory))
        return seconds

    seconds = await load.during(roll())
    after = set(stack.containers("chat"))
    assert len(after) == 3 and not after & before, "not every server was replaced"
    await load.check_logs()
    say("memory", f"under load: {', '.join(memory)}")
    p99 = percentile(load.blackouts, 0.99)
    assert load.blackouts, "no stream was moved"
    _nothing_failed(load)
    assert p99 <= BLACKOUT_P99_S, f"{_blackouts(load)}"
    return (
        f"three servers in {seconds:.0f} s: {load.seen.good} requests, none failed;"
        f" {load.lines} lines; {_blackouts(load)}"
    )


async def a_server_that_does_not_work_is_not_rolled_out(stack):
    """The old ones go on, and the new one is removed again."""
    before = set(stack.containers("chat"))
    with tempfile.TemporaryDirectory() as place:
        broken = Path(place, "broken.yaml")
        broken.write_text('services: {chat: {command: ["--no-such-option"]}}\n')
        done = stack.make("roll", check=False, COMPOSE_FILE=f"compose.yaml:{broken}")
    assert done.returncode != 0 and "the old ones go on" in done.stderr, done
    now = set(stack.docker("compose", "ps", "--all", "--quiet", "chat").split())
    assert now == before, f"{len(now)} servers, {len(now & before)} of them old"
    return "one sentence, and the same three servers"


async def a_killed_server_loses_nothing(stack):
    load = Load(stack.address, ["kill-a", "kill-b"], posters=20, subscribers=100)

    async def kill():
        await load.goes_on(60)
        await in_thread(stack.docker, "kill", stack.containers("chat")[0])
        await load.goes_on(180)

    await load.during(kill())
    await load.check_logs()
    p99 = percentile(load.blackouts, 0.99)
    assert load.blackouts, "no stream was moved"
    assert p99 <= BLACKOUT_P99_S, f"{_blackouts(load)}"
    stack.make("scale", "N=3")
    for failure in sorted(set(load.seen.failures)):
        say("failure", failure)
    return (
        f"{load.lines} lines stand once; {len(load.seen.failures)} requests failed,"
        f" {load.repeated} posts were repeated, {load.broken} streams broke; {_blackouts(load)}"
    )


def _nothing_failed(load):
    failures = load.seen.failures
    assert not failures, f"{len(failures)} failed: {failures[:5]}"
    assert not load.broken, f"{load.broken} streams were broken off"


def _blackouts(load):
    worst = load.blackouts
    return (
        f"blackout of {len(worst)} streams p50 {percentile(worst, 0.5):.2f} s,"
        f" p99 {percentile(worst, 0.99):.2f} s, worst {percentile(worst, 1):.2f} s"
    )


async def rooms_outlive_the_stack(stack):
    rooms = ["across", "proxied", "scale-a", "roll-0", "kill-b", "kept"]
    connection = Connection(stack.address)
    await connection.ask("POST", "/chat/kept", body=b"username=a&message=kept")
    before = [await connection.ask("GET", f"/chat/{room}") for room in rooms]
    connection.close()
    began = time.monotonic()
    stack.make("down")
    down = time.monotonic() - began
    assert not stack.docker("ps", "--all", "--quiet", "--filter", f"name={stack.project}")
    stack.up()
    up = time.monotonic() - began - down
    after = [await connection.ask("GET", f"/chat/{room}") for room in rooms]
    connection.close()
    assert before[-1].body.endswith(b"a: kept\n"), before[-1]
    for room, old, new in zip(rooms, before, after):
        assert (old.body, old.cursor) == (new.body, new.cursor), f"{room} is another one"
    return f"{sum(len(old.body) for old in before)} bytes; down {down:.1f} s, up {up:.1f} s"


TESTS = [
    an_idle_server_stops_fast,
    without_servers_nginx_says_so,
    scaling_fails_no_request,
    rolling_fails_no_request,
    a_server_that_does_not_work_is_not_rolled_out,
    a_killed_server_loses_nothing,
    rooms_outlive_the_stack,
]
