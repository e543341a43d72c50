"""`catchat copy` between files and a database, both ways: killed in the middle, resumed, and compared."""

import contextlib
import filecmp
import shutil
import subprocess
import sys
import time

from database import PROGRAM, database, query
from rig import SCRATCH, Row, say, spawn, stop

ROOMS = 16
LINE = "[2018-02-25 14:00:51] omri: hi everybody! number {:015d}\n"  # 65 bytes
LINES_AT_ONCE = 100_000
KILL_AT = 1 / 3
POLL_S = 0.05
ANY_CORE = "0,1"


def _rooms(data, lines):
    """Rooms of so many lines together, in a directory."""
    data.mkdir(parents=True)
    for room in range(ROOMS):
        with open(data / f"room-{room}.log", "w", encoding="ascii") as log:
            end = lines * (room + 1) // ROOMS
            for start in range(lines * room // ROOMS, end, LINES_AT_ONCE):
                log.writelines(map(LINE.format, range(start, min(start + LINES_AT_ONCE, end))))
    return _bytes_in_files(data)


def _bytes_in_files(data):
    return sum(log.stat().st_size for log in data.glob("*.log"))


def _bytes_in_database(url):
    # Until the copy has made the tables, there is nothing.
    if query(url, "SHOW TABLES LIKE 'rooms'"):
        (total,), = query(url, "SELECT COALESCE(SUM(length), 0) FROM rooms")
        return int(total)
    return 0


def _seconds(where, start, url, target, bytes_there, total):
    """The time that a copy takes which is killed at a third and run again, without that between them."""
    where.touch(0o600)  # no password on a command line
    where.write_text(f"{url}\n")
    command = [PROGRAM, "copy", *(f"@{where}" if place == url else place for place in (start, target))]
    began = time.monotonic()
    child = spawn(command, ANY_CORE)
    while child.poll() is None and bytes_there(target) < total * KILL_AT:
        time.sleep(POLL_S)
    child.kill()
    child.wait()
    stop(child)
    first = time.monotonic() - began
    there = bytes_there(target)
    say(f"  killed after {first:.1f} s and {there / 1e6:,.0f} MB")
    if not 0 < there < total:
        say("  that is not the middle: take more --lines")
    began = time.monotonic()
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("bench: the copy failed")
    return first + time.monotonic() - began


def both_ways(options):
    """Files to a database, and back to files: byte for byte the same."""
    home = SCRATCH / "copying"
    shutil.rmtree(home, ignore_errors=True)
    files, back = home / "files", home / "back"
    rows = []
    with database() as (kind, url), contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        say(f"writing {options.lines:,} lines in {ROOMS} rooms")
        total = _rooms(files, options.lines)
        for what, start, target, bytes_there in ((f"files to {kind}", files, url, _bytes_in_database),
                                                 (f"{kind} to files", url, back, _bytes_in_files)):
            say(f"copy, {what}")
            took = _seconds(home / "url", start, url, target, bytes_there, total)
            rows.append(Row(f"copy of {options.lines:,} lines, {what}, killed and resumed",
                            f"{options.lines / took:,.0f} lines/s",
                            f"{total / 1e6:,.0f} MB in {took:.1f} s, {total / 1e6 / took:.1f} MB/s"))
        names = sorted(log.name for log in files.iterdir())
        same, _, _ = filecmp.cmpfiles(files, back, names, shallow=False)
        if sorted(same) != names or names != sorted(log.name for log in back.glob("*.log")):
            sys.exit("bench: the copy of the copy is not what was copied")
        say("  byte-identical")
    return rows
