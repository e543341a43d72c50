"""Posters, subscribers and who watches the names: threads that go on until they are told to end."""

import http.client
import socket
import threading
import time

LAST = "the last line"


class Client(threading.Thread):
    """A thread whose failure is a failure of the test."""

    def __init__(self, name, servers, ending):
        super().__init__(name=name, daemon=True)
        self.servers, self.ending, self.failure = servers, ending, None

    def run(self):
        try:
            self.work()
        except Exception as error:  # It is raised again where the thread is awaited.
            self.failure = error

    def awaited(self, deadline):
        self.join(max(0, deadline - time.monotonic()))
        if self.failure is not None:
            raise RuntimeError(f"{self.name}: {self.failure!r}") from self.failure
        if self.is_alive():
            raise RuntimeError(f"{self.name} does not end: {self.where()}")


class Poster(Client):
    """Repeats each request, over all servers in turns, until it is answered."""

    PAUSE_S = 0.01
    REPEAT_PAUSE_S = 0.2
    LINES_ON_ONE_SERVER = 8

    def __init__(self, name, room, servers, ending):
        super().__init__(name, servers, ending)
        self.room, self.after = room, "0-0"
        self.acknowledged = []  # (message, line, cursor, when)
        self.refusals = {}
        self.slowest_s = 0.0

    def where(self):
        return f"after {len(self.acknowledged)} lines, {self.refusals}"

    def work(self):
        turn = sum(map(ord, self.name))
        while not self.ending.is_set():
            number = len(self.acknowledged)
            message = f"{self.name} {number} " + "x" * (number * 7 % 200)
            began = time.monotonic()
            while not self.try_once(self.servers[turn % len(self.servers)], message):
                turn += 1
                time.sleep(self.REPEAT_PAUSE_S)
            if number % self.LINES_ON_ONE_SERVER == 0:
                turn += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            time.sleep(self.PAUSE_S)

    def try_once(self, server, message):
        try:
            status, headers, body = server.post(self.room, self.name, message, self.after)
        except OSError as error:
            self.refused(type(error).__name__)
            return False
        if status == 503:
            if "Retry-After" not in headers:
                raise AssertionError("503 without Retry-After")
            self.refused(503)
            return False
        if status not in (200, 201):
            at = server.address
            raise AssertionError(f"{at} answers {status} {body!r} to after={self.after}")
        self.after = headers["ETag"].strip('"')
        self.acknowledged.append((message, body, self.after, time.monotonic()))
        return True

    def refused(self, why):
        self.refusals[why] = self.refusals.get(why, 0) + 1


class Subscriber(Client):
    """Keeps what a stream shows; where that is cut, it goes on on the next server."""

    SILENCE_MAX_S = 20  # The server breaks its silence after 15 s.

    def __init__(self, name, room, servers, ending, roving_s=None):
        super().__init__(name, servers, ending)
        self.room, self.roving_s = room, roving_s
        self.log, self.cursor = bytearray(), None
        self.connections, self.refusals, self.cuts = 0, {}, 0
        self.silence_s, self.last_heard = 0.0, time.monotonic()

    def where(self):
        return f"at {self.cursor} after {self.connections} connections"

    def work(self):
        turn = sum(map(ord, self.name))
        while not self.is_done():
            server = self.servers[turn % len(self.servers)]
            turn += 1
            try:
                self.read(server)
            except (OSError, http.client.HTTPException) as error:
                self.refused(type(error).__name__)
                time.sleep(0.1)

    def is_done(self):
        return bytes(self.log).endswith(LAST.encode() + b"\n")

    def refused(self, why):
        self.refusals[why] = self.refusals.get(why, 0) + 1

    def read(self, server):
        headers = {"Accept": "text/event-stream"}
        if self.cursor is not None:
            headers["Last-Event-ID"] = self.cursor
        connection = server.connect(self.SILENCE_MAX_S)
        connection.request("GET", f"/chat/{self.room}", headers=headers)
        response = connection.getresponse()
        try:
            if response.status != 200:
                self.refused(response.status)
                time.sleep(0.2)
                return
            self.connections += 1
            self.read_events(response)
        finally:
            # The response has taken the socket over.
            if response.fp is not None:
                response.close()
            connection.close()

    def read_events(self, response):
        until = None if self.roving_s is None else time.monotonic() + self.roving_s
        fields = {}
        while not self.is_done():
            raw = response.readline()
            now = time.monotonic()
            self.silence_s = max(self.silence_s, now - self.last_heard)
            self.last_heard = now
            if not raw:
                self.cuts += 1
                return
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            self.take(fields)
            fields = {}
            if until is not None and now > until:
                return

    def take(self, fields):
        event = fields.get("event", "message")
        if event == "reset":
            raise AssertionError(f"reset to {fields} at {self.cursor}")
        if event == "message" and "data" in fields:
            self.log += fields["data"].encode() + b"\n"
            self.cursor = fields["id"]
            if not self.cursor.endswith(f"-{len(self.log)}"):
                raise AssertionError(f"{self.cursor} after {len(self.log)} bytes")


class Names(Client):
    """Asks every server again and again for its name: no two may have the same one."""

    PAUSE_S = 0.3

    def __init__(self, servers, ending):
        super().__init__("names", servers, ending)
        self.seen, self.looks = {}, 0

    def where(self):
        return str(self.seen)

    def work(self):
        while not self.ending.is_set():
            names = {}
            for server in list(self.servers):
                try:
                    _, headers, _ = server.get("/-/metrics", within=5)
                except OSError:
                    continue
                name = headers["Server-Name"]
                if name in names:
                    raise AssertionError(f"{name} is {server.address} and {names[name]}")
                names[name] = server.address
            self.seen.update(names)
            self.looks += 1
            time.sleep(self.PAUSE_S)


class Prober(Client):
    """Posts lines of its own to one server only, and keeps what each was answered."""

    def __init__(self, name, room, server, ending):
        super().__init__(name, [server], ending)
        self.room, self.answers = room, []  # (message, status, began, ended)

    def where(self):
        return str(self.answers[-1:])

    def work(self):
        while not self.ending.is_set():
            message, began = f"{self.name} {len(self.answers)}", time.monotonic()
            try:
                status, headers, _ = self.servers[0].post(self.room, self.name, message)
                if status == 503 and "Retry-After" not in headers:
                    raise AssertionError("503 without Retry-After")
            except socket.timeout:
                status = "no answer"
            self.answers.append((message, status, began, time.monotonic()))
            time.sleep(0.1)
