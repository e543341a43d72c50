"""What the program costs before anybody uses it: time to start, memory, size."""

import os
import shutil
import socket
import subprocess
import sys
import time

from rig import BINARY, LOAD_CORE, SCRATCH, SERVER_CORE, free_port, limit, median, rss_kb, say, stop, wait_for
from peers import catchat

STARTS = 20
FIRST_ANSWER_MARK_MS = 10.0
IDLE_RSS_MARK_KB = 4096
BINARY_MARK_BYTES = 2_000_000
DEADLINE_S = 10


def _first_answer_ms(data):
    """From just before exec to the first 200."""
    port = free_port()
    command = [BINARY, "--listen", f"127.0.0.1:{port}", "--store", data, "--name", "bench"]
    os.sched_setaffinity(0, {SERVER_CORE})  # the child inherits it: no helper program in between
    start = time.perf_counter()
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        while time.perf_counter() - start < DEADLINE_S:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as connection:
                    connection.sendall(b"GET /chat/general HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    if connection.recv(4096).startswith(b"HTTP/1.1 200 "):
                        return (time.perf_counter() - start) * 1000
            except OSError:
                time.sleep(0.0001)
        sys.exit(f"bench: no answer {DEADLINE_S} s after start")
    finally:
        stop(child)


def start(options):
    """First answer, idle memory and the size of the program."""
    if not options.ours:
        return []
    say("start: first answer, idle memory, size")
    data = SCRATCH / "startup"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    cores = os.sched_getaffinity(0)
    try:
        took = [_first_answer_ms(data) for _ in range(STARTS)]
    finally:
        os.sched_setaffinity(0, cores)
    with catchat(data) as server:
        wait_for(server.port, server.child)
        time.sleep(1)
        idle_kb = rss_kb(server.pid)
    size = BINARY.stat().st_size
    say(f"  first answer {min(took):.1f} to {max(took):.1f} ms, idle {idle_kb} kB, {size} bytes")
    return [
        limit(f"first answer after start, median of {STARTS}", median(took), FIRST_ANSWER_MARK_MS, "{:.1f} ms".format),
        limit("resident memory, idle", idle_kb, IDLE_RSS_MARK_KB, "{:,.0f} kB".format),
        limit("stripped release binary", size, BINARY_MARK_BYTES, "{:,.0f} bytes".format),
    ]
