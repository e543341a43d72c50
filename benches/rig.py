"""What every benchmark needs: processes on a fixed core, what they cost, measuring in turns."""

import atexit
import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BINARY = TARGET / "release" / "catchat"
# Logs, peers' settings and the virtual environment; on the disk that is measured.
SCRATCH = TARGET / "bench"
SERVER_CORE, LOAD_CORE = 0, 1
KERNEL_THREADS = 2  # kthreadd, whose children all of them are
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Other programs may take so much of one core's time before a round is measured again.
NOISE_PERCENT = 8.0
NOISY_ROUND_REPEATS = 3
# Before it is measured again: how long to wait for a quiet second, in all of a run.
QUIET_BUDGET_S = 180
START_DEADLINE_S = 20


@dataclass
class Options:
    """How long and how often, from the command line."""

    seconds: int = 3
    rounds: int = 5
    ours: bool = True
    peers: bool = True
    lines: int = 10_000_000


@dataclass
class Row:
    """One line of the table at the end."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    mark: str = ""
    verdict: str = ""
    notes: list = field(default_factory=list)


def say(text):
    """Progress, apart from the table on standard output."""
    print(text, file=sys.stderr, flush=True)


def need(programs):
    """Install by apt-get what is missing of {program or file: package}."""
    missing = [p for f, p in programs.items() if not (shutil.which(f) or Path(f).exists())]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        command.insert(0, "sudo")
    say(f"installing {' '.join(missing)}: {' '.join(command)}")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: cannot install {' '.join(missing)}; install it by hand and run again")


def pinned(core, command):
    """The command, bound to one core."""
    return ["taskset", "-c", str(core), *map(str, command)]


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# Every child that still runs; only these are ever stopped.
_children = []


def spawn(command, core, **keywords):
    """Start a child that is stopped when this program ends, however it ends."""
    child = subprocess.Popen(pinned(core, command), start_new_session=True, **keywords)
    _children.append(child)
    return child


def stop(child):
    """End one child: politely, then surely."""
    if child in _children:
        _children.remove(child)
    if child.poll() is None:
        offspring = family(child.pid)
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            for pid in offspring:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            child.wait()


@atexit.register
def _stop_all():
    for child in list(_children):
        stop(child)


def stop_on_signals():
    """SIGTERM and SIGHUP end the program as Ctrl-C does, so that no child is left."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))


def raise_descriptor_limit(wanted):
    """Allow this program and its children that many open files, where the system does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def get(port, path, method="GET", body=None, headers=None):
    """One request on a connection of its own: (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def wait_for(port, child):
    """Return once the child accepts connections."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            sys.exit(f"bench: {' '.join(child.args[3:])} ended at once, code {child.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    sys.exit(f"bench: nobody listens on port {port} after {START_DEADLINE_S} s")


def family(pid):
    """The process and all that descend from it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(stat[1])
    found = [pid]
    for p in found:
        found += [child for child, parent in parents.items() if parent == p]
    return found


def _own_cpu_s(pid):
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS_PER_S
    return 0.0


def cpu_s(pid):
    """Processor time that the process and its living children have taken."""
    return sum(map(_own_cpu_s, family(pid)))


def rss_kb(pid):
    """Resident memory of the process and its children; pages that they share count once."""
    total = shared = 0
    for p in family(pid):
        with contextlib.suppress(OSError):
            pairs = (l.split(":") for l in Path(f"/proc/{p}/status").read_text().splitlines())
            status = {k: v.split()[0] for k, v in pairs if v.strip().endswith("kB")}
            total += int(status["VmRSS"]) - int(status.get("RssShmem", 0))
            shared = max(shared, int(status.get("RssShmem", 0)))
    return total + shared


def machine_busy_s():
    """Processor time taken by all programs, the hypervisor's share included.

    Not that of the kernel's own threads: moving packets and writing the disk's journal is
    what the servers ask of them.
    """
    f = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = f[:8]
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S - cpu_s(KERNEL_THREADS)


class Meter:
    """What a span of time cost the server, the load generator, and what others took beside."""

    def __init__(self, *servers, load=None):
        self.servers, self.load = servers, load
        self.start = self._now()

    def _now(self):
        mine = sum(os.times()[:4]) + (cpu_s(self.load) if self.load else 0)
        return time.monotonic(), sum(map(cpu_s, self.servers)), mine, machine_busy_s()

    def read(self):
        """(server %, load %, others %) of one core since the start."""
        now = self._now()
        wall, server, load, busy = (b - a for a, b in zip(self.start, now))
        return tuple(100 * x / wall for x in (server, load, max(0.0, busy - server - load)))


def _busy_percent():
    """How much of a core is taken within the next second, while this program sleeps."""
    before = machine_busy_s()
    time.sleep(1)
    return 100 * (machine_busy_s() - before)


def _wait_for_quiet(spent=[0.0]):
    """Return at the next quiet second, or when all of the run's budget for that is spent."""
    start = time.monotonic()
    while spent[0] + time.monotonic() - start < QUIET_BUDGET_S and _busy_percent() > NOISE_PERCENT:
        pass
    spent[0] += time.monotonic() - start


def check_machine():
    """Two cores are needed; say so where the machine has something else to do."""
    load, busy = os.getloadavg()[0], _busy_percent()
    if busy > NOISE_PERCENT or load > 0.5:
        say(f"WARNING: this machine is not quiet (load {load:.2f}, others take {busy:.0f} % "
            "of a core now); rounds that they disturb are measured again, but trust no figure blindly")
    if os.cpu_count() < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")


def in_turns(options, sides):
    """Measure every side once a round: A B A B A B. {name: function} gives {name: results}.

    A function gives (result, percent that others took); a disturbed one is run again.
    """
    results = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, measure in sides.items():
            attempts = [measure()]
            while attempts[-1][1] > NOISE_PERCENT and len(attempts) <= NOISY_ROUND_REPEATS:
                say(f"    disturbed: others took {attempts[-1][1]:.0f} % of a core; once more")
                _wait_for_quiet()
                attempts.append(measure())
            result, others = min(attempts, key=lambda attempt: attempt[1])
            if others > NOISE_PERCENT:
                say(f"    disturbed each time; the least disturbed is kept ({others:.0f} %)")
            results[name].append(result)
    return results


def median(values):
    """The middle one; 0 of none, so that one side can be measured alone."""
    return statistics.median(values) if values else 0.0


def verdict(reached):
    """How a mark reads in the table."""
    return "reached" if reached else "**MISSED**"


def versus(what, ours, peer, peer_name, mark, show, most=False):
    """A row that holds ours against a peer's; `most` marks a ratio that must not be exceeded."""
    row = Row(what, show(ours) if ours else "", f"{peer_name} {show(peer)}" if peer else "")
    row.mark = f"{'≤' if most else '≥'} {mark:g} ×"
    if ours and peer:
        ratio = ours / peer
        row.ratio = f"{ratio:.2f} × {peer_name}"
        row.verdict = verdict(ratio <= mark if most else ratio >= mark)
    return row


def limit(what, ours, most, show):
    """A row that holds ours against a fixed bound."""
    return Row(what, show(ours), mark=f"≤ {show(most)}", verdict=verdict(ours <= most))


def per_second(value):
    """1234567 → 1,234,567/s"""
    return f"{value:,.0f}/s"


def table(rows):
    """The rows as Markdown."""
    lines = ["| what | catchat | beside it | ratio | mark | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for r in rows:
        lines.append(f"| {r.what} | {r.ours} | {r.peer} | {r.ratio} | {r.mark} | {r.verdict} |")
    return "\n".join(lines)
