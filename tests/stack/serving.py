"""What the running stack answers, and what its containers may do."""

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path

from client import Connection, Seen, Subscriber
from load import percentile, wait_for
from stack import ROOT

IMAGE_BYTES_MAX = 6_000_000
# How long a line takes to another server's streams: nine of ten, as a busy machine may hold one up.
LIVE_S = {"files": 0.2, "mysql": 0.5}
PAGE_PYTHON = ROOT / "target" / "page-venv" / "bin" / "python"
# More requests than nginx lets one address post at once.
TOO_MANY_POSTS = 300
# After that its burst of 100 is used up, and only time gives it back: 50 a second, and some more.
FORGOTTEN_S = 3


async def compose_has_no_warnings(stack):
    files = ["compose.yaml"] + (["compose.mysql.yaml"] if stack.store == "mysql" else [])
    words = ["--profile", "mysql"] if stack.store == "mysql" else []
    done = stack.run("docker", "compose", *words, "config", COMPOSE_FILE=":".join(files))
    assert done.stderr == "", f"docker compose config says: {done.stderr}"
    assert ("mysql" in done.stdout) == (stack.store == "mysql"), done.stdout
    return "docker compose config says nothing on standard error"


async def make_explains_what_is_missing(stack):
    """Each with one sentence, before anything is built."""
    with tempfile.TemporaryDirectory() as empty, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tools = Path(empty, "tools")
        tools.mkdir()
        for tool in ("make", "sh", "sed", "bash"):
            Path(tools, tool).symlink_to(shutil.which(tool))
        cases = {
            "there is no docker": {"PATH": str(tools)},
            "the Docker daemon does not answer": {"DOCKER_HOST": "tcp://127.0.0.1:1"},
            f"another program has port {port}": {
                "CATCHAT_PORT": f"127.0.0.1:{port}",
                "COMPOSE_PROJECT_NAME": f"{stack.project}-none",
            },
        }
        if not list(Path("/usr").glob("lib*/docker/cli-plugins/docker-compose")):
            cases["Docker Compose 2.10 or newer is needed"] = {"DOCKER_CONFIG": empty}
        for sentence, environment in cases.items():
            done = stack.make("up", check=False, **environment)
            assert done.returncode != 0 and sentence in done.stderr, (
                f"{sentence!r} is not in: {done.stdout}{done.stderr}"
            )
        done = stack.make("scale", check=False)
        assert done.returncode != 0 and "make scale N=5" in done.stderr, done.stderr
        done = stack.make("up", "STORE=sql", check=False)
        assert done.returncode != 0 and "there are files and mysql" in done.stderr, done.stderr
        other = "files" if stack.store == "mysql" else "mysql"
        done = stack.make("scale", "N=3", f"STORE={other}", check=False)
        assert done.returncode != 0 and f"make up STORE={other}" in done.stderr, done.stderr
    return f"{len(cases) + 3} sentences"


async def the_image_is_small(stack):
    size = stack.image_bytes()
    assert size <= IMAGE_BYTES_MAX, f"{size} bytes, and {IMAGE_BYTES_MAX} are allowed"
    return f"{size / 1e6:.2f} MB"


async def three_servers_answer(stack):
    connection = Connection(stack.address)
    names = set()
    for _ in range(12):
        answer = await connection.ask("GET", "/tea")
        shown = re.search(r'id="server-name"[^>]*>([^<]+)<', answer.body.decode())
        assert answer.status == 200, answer
        assert shown is None or shown[1] == answer.server, f"{shown[1]} is not {answer.server}"
        names.add(answer.server)
    connection.close()
    assert names == {"alpha", "bravo", "charlie"}, names
    return ", ".join(sorted(names))


async def a_browser_sees_other_names_as_it_reloads(stack):
    if not PAGE_PYTHON.exists():
        assert os.environ.get("CI") != "true", "no playwright, and in CI nothing is skipped"
        return "skipped: no playwright, tests/page/run installs it"
    done = stack.run(str(PAGE_PYTHON), "tests/stack/browser.py", f"{stack.url}/tea", "12")
    names = done.stdout.split()
    assert len(names) == 12 and set(names) == {"alpha", "bravo", "charlie"}, names
    return " ".join(names)


async def a_line_is_read_through_each_of_the_others(stack):
    """At once in the log, and soon in the streams of all three."""
    seen = Seen()
    subscribers, tasks = {}, []
    try:
        while len(subscribers) < 3:
            subscriber = Subscriber(stack.address, "across", seen)
            tasks.append(asyncio.create_task(subscriber.run()))
            await wait_for(lambda s=subscriber: s.server, "a stream's head", 10)
            subscribers.setdefault(subscriber.server, subscriber)
        delays = []
        poster, reader = Connection(stack.address), Connection(stack.address)
        for number in range(20):
            body = f"username=a&message=line-{number}".encode()
            at = time.monotonic()
            posted = await poster.ask("POST", "/chat/across", body=body)
            assert posted.status == 201, posted
            others = set(subscribers) - {posted.server}
            while others:
                answer = await reader.ask("GET", "/chat/across")
                assert answer.body.endswith(posted.body), f"{answer.server} does not have it yet"
                others.discard(answer.server)
            for server, subscriber in subscribers.items():
                await wait_for(lambda s=subscriber: s.log.endswith(posted.body), "a line", 10)
                if server != posted.server:
                    delays.append(subscriber.grew - at)
            await asyncio.sleep(0.05)
        poster.close()
        reader.close()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    delays.sort()
    assert percentile(delays, 0.9) <= LIVE_S[stack.store], f"a line takes {[round(delay, 3) for delay in delays]} s"
    middle = percentile(delays, 0.5) * 1000
    return f"live {middle:.1f} ms in the middle, {delays[-1] * 1000:.1f} ms at most, after the post was sent"


async def nginx_keeps_the_contract(stack):
    """What a proxy in the middle commonly breaks, and what it adds."""
    connection = Connection(stack.address)
    body = b"username=a&message=proxied"
    here = f"http://127.0.0.1:{stack.port}"
    posted = await connection.ask("POST", "/chat/proxied", {"Origin": here}, body)
    assert posted.status == 201, f"the page's own post: {posted.status} {posted.body}"
    elsewhere = await connection.ask("POST", "/chat/proxied", {"Origin": "http://127.0.0.1"}, body)
    assert elsewhere.status == 403, "a post from another port's page"

    zip_ok = {"Accept-Encoding": "gzip"}
    whole = await connection.ask("GET", "/chat/proxied", zip_ok)
    assert whole.body == posted.body and whole.headers["etag"] == f'"{posted.cursor}"', whole
    assert whole.headers["accept-ranges"] == "bytes" and "content-encoding" not in whole.headers
    part = await connection.ask("GET", "/chat/proxied", {"Range": "bytes=1-4", **zip_ok})
    assert (part.status, part.body) == (206, posted.body[1:5]), part
    same = await connection.ask("GET", "/chat/proxied", {"If-None-Match": f'"{posted.cursor}"'})
    assert same.status == 304, same.status
    script = await connection.ask("GET", "/-/chat.js", zip_ok)
    plain = await connection.ask("GET", "/-/chat.js")
    assert script.headers.get("content-encoding") == "gzip", script.headers
    assert gzip.decompress(script.body) == plain.body
    etag = {"If-None-Match": script.headers["etag"]}
    same = await connection.ask("GET", "/-/chat.js", {**etag, **zip_ok})
    assert same.status == 304, "a compressed script that has not changed"

    room = "/chat/%C3%A9%20%3F%25"
    await connection.ask("POST", room, body=body)
    stream = Connection(stack.address)
    following = await stream.open("GET", f"{room}?follow", zip_ok)
    line = await asyncio.wait_for(anext(stream.pieces(following)), 5)
    assert line.endswith(b"a: proxied\n"), line
    stream.close()

    huge = b"username=a&message=" + 70_000 * b"x"
    sentences = {
        "bytes are allowed": await connection.ask("POST", "/chat/proxied", body=huge),
        "metrics are not public": await connection.ask("GET", "/-/metrics"),
        "metrics are not public ": await connection.ask("GET", "//%2d/metrics"),
        "bad request": await connection.ask("GET", "/chat/%00"),
        "address is too long": await connection.ask("GET", "/" + 9000 * "x"),
        "not allowed": await connection.ask("TRACE", "/"),
    }
    statuses = [answer.status for answer in sentences.values()]
    assert statuses == [413, 403, 403, 400, 414, 405], statuses
    for sentence, answer in sentences.items():
        assert answer.headers["content-type"].startswith("text/plain"), answer
        assert sentence.strip() in answer.body.decode() and answer.body.count(b"\n") == 1, answer
        assert answer.server == "nginx", answer
    connection.close()
    inside = stack.docker(
        "compose", "exec", "-T", "nginx", "wget", "-qO-", "http://chat:8080/-/metrics"
    )
    assert "catchat_requests_total" in inside, inside
    return "ranges, ETags, origins, gzip, streams, and one line for each error"


async def too_many_posts_are_refused(stack):
    connections = [Connection(stack.address) for _ in range(30)]

    async def post(connection, times):
        return [
            await connection.ask("POST", "/chat/flood", body=b"username=a&message=b")
            for _ in range(times)
        ]

    began = time.monotonic()
    each = TOO_MANY_POSTS // len(connections)
    answers = sum(await asyncio.gather(*(post(c, each) for c in connections)), [])
    seconds = time.monotonic() - began
    refused = [answer for answer in answers if answer.status != 201]
    allowed = TOO_MANY_POSTS - len(refused)
    assert refused, f"{TOO_MANY_POSTS} posts in {seconds:.1f} s were taken"
    for answer in refused:
        assert answer.status == 429 and answer.headers["retry-after"] == "1", answer
        assert answer.body.startswith(b"too many posts from your address"), answer
    log = await connections[0].ask("GET", "/chat/flood")
    assert log.body.count(b"\n") == allowed, "refused posts stand in the log"
    for connection in connections:
        connection.close()
    # The next tests must find room for their posts, and to ask for it would take it up.
    await asyncio.sleep(FORGOTTEN_S)
    return f"of {TOO_MANY_POSTS} in {seconds:.1f} s, {allowed} were taken"


async def containers_can_do_little(stack):
    users = {"chat": "10001:10001", "nginx": "101:101", "mysql": "999:999"}
    for service in stack.services:
        user = users[service]
        containers = stack.containers(service)
        assert containers, f"{service} does not run"
        for container in containers:
            known = stack.inspect(container)
            assert known["Config"]["User"] == user, known["Config"]["User"]
            host = known["HostConfig"]
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"], host
            assert "no-new-privileges:true" in host["SecurityOpt"], host
            assert host["Memory"] > 0 and host["PidsLimit"] > 0, host
            assert host["LogConfig"]["Config"].get("max-size"), host
            assert bool(host["PortBindings"]) == (service == "nginx"), host["PortBindings"]
            status = Path(f"/proc/{known['State']['Pid']}/status")
            with contextlib.suppress(OSError):
                text = status.read_text()
                assert re.search(r"^CapEff:\s0+$", text, re.M), text
                assert re.search(r"^NoNewPrivs:\s1$", text, re.M), text
                assert re.search(rf"^Uid:\s{user.split(':')[0]}\s", text, re.M), text
    # The image has no shell: the server itself is what tries to write.
    done = stack.run(
        *("docker", "compose", "exec", "-T", "chat", "/catchat"),
        *("--listen", "127.0.0.1:0", "--store", "/elsewhere"),
        check=False,
    )
    assert done.returncode == 1 and "Read-only file system" in done.stderr, done
    for service in stack.services[1:]:
        container = stack.containers(service)[0]
        done = stack.run("docker", "exec", container, "touch", "/x", check=False)
        assert done.returncode != 0 and "Read-only file system" in done.stderr, done
    return "no root, no capabilities, nothing to write on"


TESTS = [
    compose_has_no_warnings,
    make_explains_what_is_missing,
    the_image_is_small,
    three_servers_answer,
    a_browser_sees_other_names_as_it_reloads,
    a_line_is_read_through_each_of_the_others,
    nginx_keeps_the_contract,
    too_many_posts_are_refused,
    containers_can_do_little,
]
