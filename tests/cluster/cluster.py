"""What a cluster goes through, and what must stand in the end. Called by tests/cluster/run.

Posters and subscribers go on throughout, while one node is killed, one is cut off, one lags, and
all are restarted one after the other.
"""

import signal
import subprocess
import sys
import tempfile
import threading
import time

import network
from clients import LAST, Names, Poster, Prober, Subscriber
from nodes import Node
from servers import Server

ROOMS = ("tea", "coffee", "Tee")
POSTERS_PER_ROOM = 3
# All in all, however it goes.
WITHIN_S = 240
# A cluster takes up to 15 s until it does without a node that does not answer.
NOTICED_WITHIN_S = 30
# How long a node is held up: shorter than it waits itself for what it has not applied.
LAG_S = 4


def say(text):
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def eventually(what, condition, within_s=NOTICED_WITHIN_S):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.05)
    return time.monotonic() - began


class Cluster:
    def __init__(self, program, directory):
        self.nodes = [Node(number, directory) for number in network.NODES]
        self.servers = [Server(program, node, directory) for node in self.nodes]
        self.ending = threading.Event()
        self.posters, self.subscribers, self.probers = [], [], []
        self.names = Names(self.servers, self.ending)
        self.outages = []

    def start(self):
        first, *others = self.nodes
        first.install()
        for node in others:
            subprocess.run(
                ("cp", "-a", f"{first.directory}/data", f"{node.directory}/data"), check=True
            )
        first.start(first=True)
        first.wait_synced(1)
        for size, node in enumerate(others, 2):
            node.start()
            for other in self.nodes[:size]:
                other.wait_synced(size)
        # At once, so that they want the same name.
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait_ready()

    def start_clients(self):
        for room in ROOMS:
            for number in range(POSTERS_PER_ROOM):
                name = f"{room}-poster-{number}"
                self.posters.append(Poster(name, room, self.servers, self.ending))
            for kind, roving_s in (("steady", None), ("roving", 0.7)):
                name = f"{room}-{kind}"
                reader = Subscriber(name, room, self.servers, self.ending, roving_s)
                self.subscribers.append(reader)
        for client in self.clients():
            client.start()

    def clients(self):
        return self.posters + self.subscribers + [self.names]

    def check_alive(self):
        for client in self.clients() + self.probers:
            if client.failure is not None:
                client.awaited(time.monotonic())

    def acknowledged(self):
        return sum(len(poster.acknowledged) for poster in self.posters)

    def go_on(self, lines=150):
        """Waits until so many lines more are acknowledged."""
        before = self.acknowledged()

        def there():
            self.check_alive()
            return self.acknowledged() >= before + lines

        return eventually("posting goes on", there)

    def others_are(self, node, size):
        others = [other for other in self.nodes if other is not node]
        return all(other.is_synced(size) for other in others)

    def health(self, node):
        try:
            return self.servers[node.number - 1].get("/-/health", within=10)[0]
        except OSError:
            return None

    def kill_one(self):
        node = self.nodes[0]
        say("node 1 is killed")
        node.kill()
        took = eventually("health says so", lambda: self.health(node) == 503)
        say(f"its server says so after {took:.1f} s")
        took = self.go_on()
        say(f"150 lines more after {took:.1f} s")
        node.restart()
        node.wait_synced(3)
        took = eventually("health says so", lambda: self.health(node) == 200)
        say(f"node 1 is back, its server works {took:.1f} s later")
        self.go_on()

    def cut_one_off(self):
        node = self.nodes[1]
        stop = threading.Event()
        began = time.monotonic()
        network.cut(node.number)
        say("node 2 is cut off")
        probers = [
            Prober(f"prober-{number}", ROOMS[0], self.servers[1], stop) for number in range(2)
        ]
        self.probers += probers
        for prober in probers:
            prober.start()
        took = eventually("health says so", lambda: self.health(node) == 503)
        say(f"its server says so after {took:.1f} s")
        eventually("the others go on without it", lambda: self.others_are(node, 2))
        took = self.go_on()
        say(f"the others go on without it; 150 lines more after {took:.1f} s")
        # Longer than a name's lease.
        eventually("the time has passed", lambda: time.monotonic() - began > 16)
        self.check_alive()
        mended = time.monotonic()
        network.mend(node.number)
        say("node 2 is no longer cut off")
        for other in self.nodes:
            other.wait_synced(3)
        took = eventually("health says so", lambda: self.health(node) == 200)
        say(f"node 2 is back, its server works {took:.1f} s later")
        eventually("it takes posts", lambda: all(p.answers[-1][1] == 201 for p in probers))
        stop.set()
        for prober in probers:
            prober.awaited(time.monotonic() + 60)
        self.check_cut_off([a for p in probers for a in p.answers], began, mended)
        self.go_on()

    def check_cut_off(self, answers, began, mended):
        """A node that is cut off cannot know what the others do: it acknowledges nothing."""
        during = [a for a in answers if a[2] > began and a[3] < mended]
        lies = [a for a in during if a[1] != 503]
        if lies or not during:
            raise AssertionError(f"cut off, and answered {lies or 'nothing'}")
        slowest = max(ended - begun for _, _, begun, ended in answers)
        say(f"{len(during)} posts refused while cut off, the slowest answer took {slowest:.1f} s")

    def hold_one_up(self):
        """A node that lags knows less than clients have seen, and must not take it for gone."""
        node, room = self.nodes[2], ROOMS[0]
        holding = f"FLUSH TABLES WITH READ LOCK; SELECT SLEEP({LAG_S}); UNLOCK TABLES"
        holder = threading.Thread(target=node.query, args=(holding, LAG_S + 20), daemon=True)
        holder.start()
        say("node 3 is held up")
        state = "wsrep_local_state_comment"
        eventually("it does not apply", lambda: node.status(state) == "Donor/Desynced")
        status, headers, _ = self.servers[0].post(room, "elsewhere", "seen elsewhere")
        seen = headers["ETag"].strip('"')
        known = int(node.query(f"SELECT length FROM rooms WHERE name = '{room}'"))
        if status != 201 or known >= int(seen.split("-")[1]):
            raise AssertionError(f"node 3 does not lag: {status}, {seen}, and it knows {known}")
        began = time.monotonic()
        statuses = []
        while True:
            status, events = self.first_events(self.servers[2], room, seen)
            statuses.append(status)
            if "event: reset" in events:
                raise AssertionError(f"{seen} is answered by a reset: {events}")
            if status == 200:
                break
            if status != 503 or time.monotonic() - began > NOTICED_WITHIN_S:
                raise AssertionError(f"{seen} is answered by {statuses}")
        took = time.monotonic() - began
        say(f"a cursor that node 3 does not know yet is taken after {took:.1f} s: {statuses}")
        holder.join(LAG_S + 20)
        self.go_on()

    def first_events(self, server, room, cursor):
        connection = server.connect(within=30)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
        try:
            connection.request("GET", f"/chat/{room}?tail=1", headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                return response.status, ""
            return 200, response.read1(2000).decode(errors="replace")
        finally:
            connection.close()

    def restart_all(self):
        for node in self.nodes:
            say(f"node {node.number} is restarted")
            node.stop()
            node.start()
            node.wait_synced(3)
            eventually("health says so", lambda node=node: self.health(node) == 200)
            self.go_on(50)

    def finish(self):
        self.ending.set()
        deadline = time.monotonic() + 60
        for client in self.posters + [self.names]:
            client.awaited(deadline)
        for room in ROOMS:
            status, _, body = self.servers[0].post(room, "end", LAST)
            if status != 201:
                raise AssertionError(f"the last line of {room}: {status} {body}")
        for subscriber in self.subscribers:
            subscriber.awaited(deadline)

    def check(self):
        for room in ROOMS:
            logs = [self.whole_log(server, room) for server in self.servers]
            if any(log != logs[0] for log in logs):
                raise AssertionError(f"the servers have different logs of {room}")
            for subscriber in self.subscribers:
                if subscriber.room == room and bytes(subscriber.log) != logs[0]:
                    raise AssertionError(f"{subscriber.name} has another log")
            for poster in self.posters:
                if poster.room == room:
                    check_poster(poster, logs[0])
            said = [line.split(b"] ", 1)[1] for line in logs[0].splitlines()]
            for prober in self.probers:
                for message, status, _, _ in prober.answers:
                    times = said.count(f"{prober.name}: {message}".encode())
                    if room == prober.room and times != 1 and (times > 1 or status == 201):
                        raise AssertionError(f"{message!r}, answered {status}: {times} times")

    def whole_log(self, server, room):
        status, _, body = server.get(f"/chat/{room}")
        if status != 200:
            raise AssertionError(f"{room} on {server.address}: {status}")
        return body

    def tell(self):
        """What each part said last, for whoever looks for the cause of a failure."""
        for server in self.servers:
            print(f"== server {server.node.number} said last\n{server.log()}", file=sys.stderr)
        for node in self.nodes:
            try:
                running = node.query("SHOW FULL PROCESSLIST", timeout=5)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                running = error
            print(f"== node {node.number} runs\n{running}", file=sys.stderr)
            print(f"== node {node.number} said last\n{node.log()}", file=sys.stderr)

    def figures(self):
        posters, readers = self.posters, self.subscribers
        times = sorted(when for poster in posters for *_, when in poster.acknowledged)
        gap = max(after - before for before, after in zip(times, times[1:]))
        refusals = {}
        for client in posters:
            for why, count in client.refusals.items():
                refusals[why] = refusals.get(why, 0) + count
        print(f"posts acknowledged               {len(times)}")
        print(f"repeated, by what was answered   {refusals}")
        print(f"longest without acknowledgement  {gap:.1f} s")
        print(f"slowest post, with its repeats   {max(p.slowest_s for p in posters):.1f} s")
        print(f"streams, with those taken up     {sum(r.connections for r in readers)}")
        print(f"streams cut by a server          {sum(r.cuts for r in readers)}")
        print(f"longest silence of a stream      {max(r.silence_s for r in readers):.1f} s")
        print(f"names, looked at {self.names.looks} times       {sorted(self.names.seen)}")


def check_poster(poster, log):
    """Each line is there once, at the place that the answer told, in the order of the answers."""
    at = 0
    for message, line, cursor, _ in poster.acknowledged:
        end = int(cursor.split("-")[1])
        if log[end - len(line) : end] != line or end <= at:
            raise AssertionError(f"{poster.name}: {line!r} is not at {cursor}")
        if log.count(f"{poster.name}: {message}\n".encode()) != 1:
            raise AssertionError(f"{poster.name}: {message!r} is there more than once")
        at = end
    mine = sum(1 for line in log.splitlines() if f"] {poster.name}: ".encode() in line)
    if mine != len(poster.acknowledged):
        raise AssertionError(f"{poster.name}: {mine} lines, {len(poster.acknowledged)} answers")


def give_up(*_):
    raise TimeoutError(f"it takes longer than {WITHIN_S} s")


def main(program):
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(WITHIN_S)
    directory = tempfile.mkdtemp()
    # In memory, and gone with this process: see tests/cluster/run.
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", directory), check=True)
    subprocess.run(("chmod", "755", directory), check=True)
    network.build()
    cluster = Cluster(program, directory)
    try:
        say("starting three nodes and a server on each")
        cluster.start()
        cluster.start_clients()
        say("posters and subscribers begin")
        cluster.go_on()
        cluster.kill_one()
        cluster.cut_one_off()
        cluster.hold_one_up()
        cluster.restart_all()
        cluster.finish()
        cluster.check()
        say("every log is right")
        cluster.figures()
    except BaseException:
        cluster.tell()
        raise


if __name__ == "__main__":
    BEGAN = time.monotonic()
    main(sys.argv[1])
