"""A load on the stack, and what must hold when it is over."""

import asyncio
import contextlib
import time

from client import Connection, Poster, Reader, Seen, Subscriber

# All posters come from one address, of which nginx takes 50 posts a second.
POSTS_PER_S = 32
READER_EVERY_S = 0.05
# How long what is on its way may take when the posting ends.
SETTLE_S = 40
# How long a few seconds' worth of posts may take, also while servers come and go.
GOES_ON_S = 60


class Load:
    """Posters, readers and subscribers, spread over a few rooms."""

    def __init__(self, address, rooms, posters, subscribers, readers=4):
        self.address = address
        self.seen = Seen()
        self.rooms = rooms
        every_s = posters / POSTS_PER_S
        room = lambda number: rooms[number % len(rooms)]
        self.posters = [Poster(address, room(n), n, every_s, self.seen) for n in range(posters)]
        self.readers = [Reader(address, room(n), READER_EVERY_S, self.seen) for n in range(readers)]
        self.subscribers = [Subscriber(address, room(n), self.seen) for n in range(subscribers)]

    async def during(self, work):
        """Runs the load while `work` is done, then lets it come to rest."""
        stop = asyncio.Event()
        following = [asyncio.create_task(s.run()) for s in self.subscribers]
        working = []
        for client in self.posters + self.readers:
            working.append(asyncio.create_task(client.run(stop)))
            await asyncio.sleep(0.01)
        try:
            result = await work
            stop.set()
            await asyncio.wait_for(asyncio.gather(*working), SETTLE_S)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._caught_up(), SETTLE_S)
            return result
        finally:
            for task in working + following:
                task.cancel()
            await asyncio.gather(*working, *following, return_exceptions=True)

    async def goes_on(self, lines):
        """Waits until so many lines more are acknowledged."""
        enough = self.lines + lines
        await wait_for(lambda: self.lines >= enough, f"{lines} lines more", GOES_ON_S)

    async def _caught_up(self):
        while not all(len(s.log) >= self.seen.newest.get(s.room, 0) for s in self.subscribers):
            await asyncio.sleep(0.05)

    async def check_logs(self):
        """Every acknowledged line stands once, in its poster's order, and every subscriber has
        exactly the log."""
        connection = Connection(self.address)
        for room in self.rooms:
            answer = await connection.ask("GET", f"/chat/{room}")
            assert answer.status == 200, f"/chat/{room}: {answer.status}"
            log = answer.body
            lines = log.splitlines(keepends=True)
            messages = [line.split(b": ", 1)[1] for line in lines]
            assert len(messages) == len(set(messages)), f"{room}: a line stands twice"
            # A poster's messages begin with its name and are numbered.
            by_poster = sorted(messages, key=lambda message: message.rpartition(b"-")[0])
            assert by_poster == sorted(messages), f"{room}: the lines are not in order"
            acknowledged = self.seen.lines.get(room, [])
            lost = set(acknowledged) - set(lines)
            assert not lost, f"{room}: {len(lost)} acknowledged lines are lost, as {lost.pop()}"
            extra = len(lines) - len(acknowledged)
            assert extra == 0, f"{room}: {extra} lines that nobody acknowledged"
            for subscriber in (s for s in self.subscribers if s.room == room):
                assert not subscriber.faults, f"{room}: a stream with {subscriber.faults[:3]}"
                assert bytes(subscriber.log) == log, (
                    f"{room}: a subscriber has {len(subscriber.log)} bytes and the log {len(log)}"
                )
        connection.close()

    @property
    def blackouts(self):
        """Of all subscribers, sorted."""
        return sorted(b for s in self.subscribers for b in s.blackouts)

    @property
    def broken(self):
        """How many streams were broken off."""
        return sum(s.broken for s in self.subscribers)

    @property
    def lines(self):
        """How many lines were acknowledged."""
        return sum(len(lines) for lines in self.seen.lines.values())

    @property
    def repeated(self):
        """How many posts were sent again."""
        return sum(p.repeated for p in self.posters)


def percentile(values, share):
    """Of sorted values; 0 of none."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


async def wait_for(true, what, deadline_s):
    """Waits until true() is, and returns how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began
