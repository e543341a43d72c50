#!/usr/bin/env python3
"""catchat's benchmarks: each pair of figures measured in turns, printed as ratios.

The server under test runs on core 0, the load on core 1. `bench.py` measures everything in
about ten minutes and ends with a Markdown table; `bench.py read-65k post-64` measures only those.
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True  # benches/ holds sources only

import copying
import database
import live
import page
import peers
import posting
import reading
import rig
import startup

BENCHES = {
    "read-650": lambda o: reading.read(o, "650"),
    "read-65k": lambda o: reading.read(o, "65k"),
    "read-650k": lambda o: reading.read(o, "650k"),
    "read-6.5m": lambda o: reading.read(o, "6.5m"),
    "poll": reading.poll,
    "post-64": lambda o: posting.one_room(o, 64),
    "post-256": lambda o: posting.one_room(o, 256),
    "post-rooms": posting.many_rooms,
    "post-alone": posting.alone,
    "start": startup.start,
    "live-1000": lambda o: live.fanout(o, 1_000),
    "live-8000": lambda o: live.fanout(o, 8_000),
    "live-across": live.across,
    "live-rooms": live.rooms,
    "page-million": page.million,
    "mysql-post": database.posts,
    "mysql-read": database.reads,
    "mysql-across": database.across,
    "mysql-tick": database.tick,
    "mysql-copy": copying.both_ways,
}


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"what to measure, or the first letters of several: {', '.join(BENCHES)}")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn (default 5)")
    parser.add_argument("--lines", type=int, default=10_000_000, help="how many lines to copy (default 10 million)")
    parser.add_argument("--only", choices=["ours", "peers"], help="measure only one side of each pair")
    parser.add_argument("--no-build", action="store_true", help="take target/release as it is")
    given = parser.parse_args()
    if min(given.seconds, given.rounds, given.lines) < 1:
        parser.error("--seconds, --rounds and --lines must be positive")
    chosen = [b for b in BENCHES if not given.names or any(b.startswith(n) for n in given.names)]
    for name in given.names:
        if not any(b.startswith(name) for b in BENCHES):
            parser.error(f"nothing is called {name}; there are {', '.join(BENCHES)}")
    return given, chosen


def main():
    """Measure, then print the table."""
    given, chosen = arguments()
    rig.stop_on_signals()
    options = rig.Options(given.seconds, given.rounds, given.only != "peers", given.only != "ours", given.lines)
    rig.SCRATCH.mkdir(parents=True, exist_ok=True)
    rig.raise_descriptor_limit(peers.DESCRIPTORS)
    in_files = [name for name in chosen if not name.startswith("mysql-")]
    if in_files and not given.no_build:
        peers.build()
    if any(name.startswith(("live-", "mysql-across")) for name in chosen):
        live.client_program()
    rig.check_machine()
    began, rows, status = time.monotonic(), [], 0
    try:
        for name in in_files:
            rows += BENCHES[name](options)
        if len(in_files) < len(chosen) and not given.no_build:
            database.build()
        for name in chosen[len(in_files):]:
            rows += BENCHES[name](options)
    except KeyboardInterrupt:
        rig.say("stopped; this is what there is")
        status = 130
    print(f"{os.cpu_count()} cores, {given.rounds} rounds of {given.seconds} s in turns, median; "
          f"took {(time.monotonic() - began) / 60:.0f} min\n")
    print(rig.table(rows))
    notes = [note for row in rows for note in row.notes]
    if notes:
        print("\n" + "\n".join(f"- {note}." for note in notes))
    return status or int(any("MISSED" in r.verdict for r in rows))


if __name__ == "__main__":
    sys.exit(main())
