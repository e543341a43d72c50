"""Clients of the chat, on asyncio: requests, posters, readers and subscribers.

Each counts what went wrong for it; nothing here judges that.
"""

import asyncio
import itertools
import time
import urllib.parse
from dataclasses import dataclass, field

ANSWER_WAIT_S = 30
HEAD_BYTES_MAX = 64 * 1024
# A poster that was not answered repeats its post after this long.
REPEAT_AFTER_S = 0.2
# Where a stream has not said yet when to come back.
RETRY_S = 1.0


class Broken(Exception):
    """The connection ended before the answer did."""


@dataclass
class Answer:
    """A response; `headers` has lower-case names."""

    status: int
    headers: dict
    body: bytes = b""

    @property
    def server(self):
        """The friendly name of the server that answered."""
        return self.headers.get("server-name", "")

    @property
    def cursor(self):
        """The cursor that the ETag is."""
        return self.headers.get("etag", "").strip('"')


class Connection:
    """One kept-alive connection to the stack; opened when it is needed."""

    def __init__(self, address):
        self.address = address
        self.reader = self.writer = None

    async def ask(self, method, path, headers=None, body=b""):
        """One request and its whole answer, or `Broken`."""
        try:
            answer = await asyncio.wait_for(self._ask(method, path, headers, body), ANSWER_WAIT_S)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.TimeoutError) as error:
            self.close()
            raise Broken(f"{method} {path}: {type(error).__name__} {error}") from error
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    async def open(self, method, path, headers=None, body=b""):
        """Sends a request and reads the answer's head; the body is left to read."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
        host = "%s:%d" % self.address
        fields = {"Host": host, **(headers or {})}
        if body:
            fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
            fields["Content-Length"] = len(body)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        got = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            got[name.lower()] = value.strip()
        return Answer(int(lines[0].split(" ")[1]), got)

    async def _ask(self, method, path, headers, body):
        answer = await self.open(method, path, headers, body)
        if method != "HEAD" and answer.status != 304:
            answer.body = b"".join([piece async for piece in self.pieces(answer)])
        return answer

    async def pieces(self, answer):
        """The body of an answer, as it comes."""
        if answer.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(answer.headers.get("content-length", 0)))
            return
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            piece = (await self.reader.readexactly(size + 2))[:-2]
            if not size:
                return
            yield piece

    def close(self):
        """Closes it; the next request opens it again."""
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


def length(cursor):
    """How many bytes of the log are before the cursor."""
    return int(cursor.rpartition("-")[2])


@dataclass
class Seen:
    """What all clients of one load have seen."""

    # Requests that were answered as they should be.
    good: int = 0
    # What went wrong, in words.
    failures: list = field(default_factory=list)
    # When each server answered for the first time.
    servers: dict = field(default_factory=dict)
    # Acknowledged lines by room, in the order of the answers.
    lines: dict = field(default_factory=dict)
    # The longest log that was acknowledged, by room.
    newest: dict = field(default_factory=dict)

    def answered(self, server):
        """A request was answered by this server."""
        self.good += 1
        self.servers.setdefault(server, time.monotonic())

    def failed(self, what):
        """A request was not answered, or not as it should be."""
        self.failures.append(what)


class Poster:
    """Posts line after line, and repeats each until it is answered."""

    def __init__(self, address, room, number, every_s, seen):
        self.room, self.name, self.every_s, self.seen = room, f"poster-{number:02}", every_s, seen
        self.connection = Connection(address)
        self.cursor = "0-0"
        self.repeated = 0

    async def run(self, stop):
        """Until `stop` is set; a line that was begun is still brought home."""
        for count in itertools.count():
            if stop.is_set():
                break
            began = time.monotonic()
            await self._post(f"{self.name}-{count:05}")
            pause = self.every_s - (time.monotonic() - began)
            await asyncio.sleep(max(pause, 0))
        self.connection.close()

    async def _post(self, message):
        fields = {"username": self.name, "message": message, "after": self.cursor}
        body = urllib.parse.urlencode(fields).encode()
        while True:
            try:
                answer = await self.connection.ask("POST", f"/chat/{self.room}", body=body)
                if answer.status in (200, 201):
                    break
                self.seen.failed(f"POST: {answer.status} {answer.body.decode().strip()}")
            except Broken as error:
                self.seen.failed(str(error))
            self.repeated += 1
            await asyncio.sleep(REPEAT_AFTER_S)
        self.seen.answered(answer.server)
        self.cursor = answer.cursor
        self.seen.lines.setdefault(self.room, []).append(answer.body)
        self.seen.newest[self.room] = max(self.seen.newest.get(self.room, 0), length(self.cursor))


class Reader:
    """Asks for the same few things, over and over."""

    def __init__(self, address, room, every_s, seen):
        self.paths = (f"/chat/{room}?tail=3", f"/{room}", "/-/health")
        self.every_s, self.seen = every_s, seen
        self.connection = Connection(address)

    async def run(self, stop):
        """Until `stop` is set."""
        for path in itertools.cycle(self.paths):
            if stop.is_set():
                break
            try:
                answer = await self.connection.ask("GET", path)
                if answer.status == 200:
                    self.seen.answered(answer.server)
                else:
                    self.seen.failed(f"GET {path}: {answer.status} {answer.body.decode().strip()}")
            except Broken as error:
                self.seen.failed(str(error))
            await asyncio.sleep(self.every_s)
        self.connection.close()


class Subscriber:
    """Follows a room as a browser does: ended streams go on where they stopped."""

    def __init__(self, address, room, seen):
        self.room, self.seen = room, seen
        self.connection = Connection(address)
        self.cursor = ""
        self.retry_s = RETRY_S
        self.server = ""
        self.log = bytearray()
        # When the last line came.
        self.grew = 0.0
        # Seconds from a stream's end until everything was there that had been acknowledged.
        self.blackouts = []
        self.ended = None
        self.target = None
        # What should never be seen: gaps, doubles, resets.
        self.faults = []
        # How many streams ended in the middle of their answer.
        self.broken = 0

    async def run(self):
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self._follow()
                except (OSError, EOFError):
                    self.broken += 1
                self.connection.close()
                if self.ended is None:
                    self.ended = time.monotonic()
                await asyncio.sleep(self.retry_s)
        finally:
            self.connection.close()

    async def _follow(self):
        headers = {"Accept": "text/event-stream"}
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        answer = await self.connection.open("GET", f"/chat/{self.room}", headers)
        if answer.status != 200:
            self.seen.failed(f"stream: {answer.status}")
            return
        self.seen.answered(answer.server)
        self.server = answer.server
        self.target = self.seen.newest.get(self.room, 0)
        text = b""
        async for piece in self.connection.pieces(answer):
            *events, text = (text + piece).split(b"\n\n")
            for event in events:
                self._take(event)

    def _take(self, event):
        fields = {}
        for line in event.split(b"\n"):
            name, _, value = line.partition(b": ")
            fields[name.decode()] = value
        if "retry" in fields:
            self.retry_s = int(fields["retry"]) / 1000
        kind = fields.get("event", b"message")
        cursor = fields.get("id", b"").decode()
        if kind == b"message":
            line = fields["data"] + b"\n"
            before = length(self.cursor) if self.cursor else 0
            if length(cursor) != before + len(line):
                self.faults.append(f"{cursor} after {self.cursor}, with {len(line)} bytes")
            self.log += line
            self.grew = time.monotonic()
        elif kind == b"reset":
            self.faults.append(f"reset to {cursor}")
        self.cursor = cursor or self.cursor
        if self.ended is not None and length(self.cursor) >= self.target:
            self.blackouts.append(time.monotonic() - self.ended)
            self.ended = None
