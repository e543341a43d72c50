"""Whole logs and unchanged polls, against nginx serving the same files."""

import contextlib
import shutil
import sys

from peers import catchat, nginx_static, wrk
from rig import SCRATCH, get, in_turns, median, per_second, say, versus

CONNECTIONS = 64
LINE = "[2018-02-25 14:00:51] omri: hi everybody! number {:012d}\n"
SIZES = {"650": 650, "65k": 65_000, "650k": 650_000, "6.5m": 6_500_000}
NAMES = {"650": "650 B", "65k": "65 KB", "650k": "650 KB", "6.5m": "6.5 MB"}
READ_MARK, POLL_MARK, POLL_SIZE_MARK = 1.1, 1.0, 0.97
# From here on wrk's core is what is measured, more than the server's.
LOAD_IS_THE_LIMIT_PERCENT = 95


def _rooms():
    """A directory with one log of each size, of whole lines."""
    data = SCRATCH / "reading"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    for name, size in SIZES.items():
        count = size // len(LINE.format(0))
        (data / f"r{name}.log").write_text("".join(LINE.format(n) for n in range(count)))
    (data / "ten.log").write_text("".join(LINE.format(n) for n in range(10)))
    return data


@contextlib.contextmanager
def _servers(options):
    """{name: (server, path of a room)} of the sides asked for, with equal answers."""
    data = _rooms()
    with contextlib.ExitStack() as stack:
        sides = {}
        if options.ours:
            sides["catchat"] = (stack.enter_context(catchat(data)), "/chat/{}".format)
        if options.peers:
            sides["nginx"] = (stack.enter_context(nginx_static(data)), "/chat/{}.log".format)
        yield data, sides


def _check_body(server, path, file):
    status, _, body = get(server.port, path)
    if (status, body) != (200, file.read_bytes()):
        sys.exit(f"bench: {server.name} answers {path} with {status} and {len(body)} bytes, "
                 f"not with the {file.stat().st_size} of {file.name}")


def _run(server, path, seconds, *mode):
    figures, others = wrk(server, path, CONNECTIONS, seconds, *mode)
    if figures["errors"]:
        sys.exit(f"bench: {server.name} failed {figures['errors']} requests for {path}")
    return figures, others


def _row(what, ours, peer, mark):
    """Ours against nginx's, with a note where wrk was the limit and not the servers."""
    rates = [median([f["per_second"] for f in runs]) for runs in (ours, peer)]
    row = versus(what, *rates, "nginx", mark, per_second)
    if ours and peer:
        load = [median([f["cpu"][1] for f in runs]) for runs in (ours, peer)]
        if max(load) >= LOAD_IS_THE_LIMIT_PERCENT:
            spent = [median([f["per_second"] / f["cpu"][0] for f in runs]) for runs in (ours, peer)]
            row.notes.append(f"{what}: the load generator's core was busy for {load[0]:.0f} % (catchat) and "
                             f"{load[1]:.0f} % (nginx) of the time; per second of the server's processor time "
                             f"catchat does {spent[0] / spent[1]:.2f} × nginx")
    return row


def read(options, size):
    """GET of a whole log."""
    say(f"reading a log of {NAMES[size]}, {CONNECTIONS} connections")
    with _servers(options) as (data, sides):
        for server, path in sides.values():
            _check_body(server, path(f"r{size}"), data / f"r{size}.log")
            _run(server, path(f"r{size}"), 1, "get")
        results = in_turns(options, {
            name: lambda server=server, path=path: _run(server, path(f"r{size}"), options.seconds, "get")
            for name, (server, path) in sides.items()})
    return [_row(f"read a log of {NAMES[size]}", results.get("catchat", []), results.get("nginx", []), READ_MARK)]


def poll(options):
    """GET with the current ETag: 304, of a big room and of a small one."""
    say(f"unchanged poll (304), {CONNECTIONS} connections")
    with _servers(options) as (_, sides):
        turns = {}
        for name, (server, path) in sides.items():
            for room in ("r6.5m", "ten") if name == "catchat" else ("r6.5m",):
                status, headers, _ = get(server.port, path(room), method="HEAD")
                etag = headers["ETag"]
                again, _, body = get(server.port, path(room), headers={"If-None-Match": etag})
                if (status, again, body) != (200, 304, b""):
                    sys.exit(f"bench: {name} answers {status}, then {again} with {len(body)} bytes, not 304")
                mode = ("header", "If-None-Match", etag)
                _run(server, path(room), 1, *mode)
                turns[name, room] = lambda s=server, p=path(room), m=mode: _run(s, p, options.seconds, *m)
        results = in_turns(options, turns)
    ours, small = results.get(("catchat", "r6.5m"), []), results.get(("catchat", "ten"), [])
    rows = [_row("unchanged poll (304) of the 6.5 MB log", ours, results.get(("nginx", "r6.5m"), []), POLL_MARK)]
    if ours:
        # "No dearer": the same, but for what two runs of the same thing differ by here.
        big, small = (median([f["per_second"] for f in runs]) for runs in (ours, small))
        rows.append(versus("the same, beside that of a log of 10 lines", big, small, "10 lines",
                           POLL_SIZE_MARK, per_second))
    return rows
