"""The stack with its rooms in MySQL: its secrets, its death, moves and backups."""

import asyncio
import re
import time
from pathlib import Path

from client import Connection
from load import Load, wait_for
from stack import in_thread

# For how long the database is gone, and how soon after that posts are taken again.
DATABASE_AWAY_S = 8
DATABASE_BACK_S = 60


async def secrets_are_kept(stack):
    """The passwords are in their files, and in nothing that Docker or make shows."""
    assert stack.secrets.stat().st_mode & 0o077 == 0, "others may look into the directory"
    files = {path.name: path.read_text() for path in stack.secrets.iterdir()}
    password = re.search("^password=([0-9a-f]{48})$", files["mysql-client"], re.M)[1]
    assert files["store"].strip() == f"mysql://catchat:{password}@mysql:3306/catchat"
    assert re.fullmatch("[0-9a-f]{48}", files["mysql-root"]) and password != files["mysql-root"]
    shown = [stack.said, stack.make("ps").stdout]
    for service in stack.services:
        for container in stack.containers(service):
            shown.append(stack.docker("inspect", container))
            logs = stack.run("docker", "logs", container)
            shown.append(logs.stdout + logs.stderr)
            process = Path(f"/proc/{stack.inspect(container)['State']['Pid']}")
            shown.append((process / "cmdline").read_text())
            if service != "mysql":
                shown.append((process / "environ").read_text())
            if service == "chat":
                metrics = "http://127.0.0.1:8080/-/metrics"
                asked = stack.run("docker", "exec", container, "/catchat", "health", metrics)
                shown.append(asked.stdout + asked.stderr)
    for secret in (password, files["mysql-root"]):
        assert not any(secret in text for text in shown), "a password is shown"
    grants = stack.query("SHOW GRANTS").splitlines()
    others = [grant for grant in grants if "ON `catchat`.* " not in grant]
    assert others == ["GRANT USAGE ON *.* TO `catchat`@`%`"], grants
    assert "ALL" not in grants[-1] and "GRANT OPTION" not in grants[-1], grants
    foreign = stack.query("SELECT * FROM mysql.user", check=False)
    assert "denied" in foreign, foreign
    return f"{len(shown)} places looked at; catchat has its own database only"


async def a_killed_database_loses_nothing(stack):
    load = Load(stack.address, ["away-a", "away-b"], posters=20, subscribers=60)
    took = {}

    async def kill():
        connection = Connection(stack.address)
        (database,) = stack.containers("mysql")
        await load.goes_on(90)
        await in_thread(stack.docker, "kill", database)
        killed = time.monotonic()
        while (answer := await connection.ask("GET", "/-/health")).status != 503:
            assert time.monotonic() - killed < DATABASE_AWAY_S, f"health says {answer}"
            await asyncio.sleep(0.1)
        took["health"] = time.monotonic() - killed
        assert answer.body.count(b"\n") == 1, answer.body
        body = b"username=a&message=b"
        refused = await connection.ask("POST", "/chat/away-c", body=body)
        assert refused.status == 503 and int(refused.headers["retry-after"]) > 0, refused
        took["refused"] = time.monotonic() - killed
        page = await connection.ask("GET", "/away-a")
        assert page.status == 200, page
        await asyncio.sleep(max(DATABASE_AWAY_S - (time.monotonic() - killed), 0))
        lines = load.lines
        await in_thread(stack.docker, "start", database)
        started = time.monotonic()
        await wait_for(lambda: load.lines > lines, "a line after the restart", DATABASE_BACK_S)
        took["back"] = time.monotonic() - started
        while (await connection.ask("GET", "/-/health")).status != 200:
            assert time.monotonic() - started < DATABASE_BACK_S, "health does not get well"
            await asyncio.sleep(0.1)
        connection.close()
        await load.goes_on(90)

    await load.during(kill())
    await load.check_logs()
    statuses = {failure.split(": ")[1][:3] for failure in load.seen.failures}
    assert statuses == {"503"}, sorted(set(load.seen.failures))
    ended = load.broken + len(load.blackouts)
    assert not ended, f"{ended} streams ended"
    return (
        f"{load.lines} lines stand once, in order; {load.repeated} posts were repeated, no stream"
        f" ended; health said so after {took['health']:.1f} s, the first line came"
        f" {took['back']:.1f} s after the restart"
    )


async def the_rooms_can_be_moved_and_moved_back(stack):
    """Each store keeps its rooms, and a copy takes them over with their cursors."""
    connection = Connection(stack.address)
    before = await connection.ask("GET", "/chat/kept")
    # make may take longer than nginx keeps an idle connection.
    connection.close()
    assert "The rooms are in files" in stack.make("up", "STORE=files").stdout
    assert not stack.containers("mysql"), "MySQL still runs"
    empty = await connection.ask("GET", "/chat/kept")
    assert (empty.status, empty.body) == (200, b""), empty
    connection.close()
    stack.make("copy", "TO=files")
    after = await connection.ask("GET", "/chat/kept")
    assert before.body and (before.body, before.cursor) == (after.body, after.cursor), after
    posted = await connection.ask("POST", "/chat/kept", body=b"username=a&message=in+files")
    assert posted.status == 201, posted
    connection.close()
    again = stack.make("up").stdout
    assert "The rooms are in files" in again, again
    stack.make("copy", "TO=mysql")
    assert "The rooms are in MySQL" in stack.up().stdout
    after = await connection.ask("GET", "/chat/kept")
    assert (after.body, after.cursor) == (before.body + posted.body, posted.cursor), after
    assert "The rooms are in MySQL" in stack.make("up").stdout, "it did not stay there"
    connection.close()
    return "to files and back, with every cursor"


async def a_backup_can_be_restored(stack):
    """As the README says it."""
    connection = Connection(stack.address)
    before = await connection.ask("GET", "/chat/kept")
    words = ("docker", "compose", "exec", "-T", "mysql")
    secret = "--defaults-extra-file=/run/secrets/client.cnf"
    dump = stack.run(*words, "mysqldump", secret, "catchat")
    assert dump.stderr == "" and "Dump completed" in dump.stdout, dump.stderr
    stack.query("DELETE FROM messages")
    stack.run(*words, "mysql", secret, "catchat", stdin=dump.stdout)
    after = await connection.ask("GET", "/chat/kept")
    connection.close()
    assert before.body and (before.body, before.cursor) == (after.body, after.cursor), after
    return f"{len(dump.stdout)} bytes"


async def lost_secrets_are_not_made_up(stack):
    """New passwords would not open the volume."""
    stack.make("down")
    away = stack.secrets.with_suffix(".away")
    stack.secrets.rename(away)
    try:
        done = stack.make("up", "STORE=mysql", check=False)
    finally:
        away.rename(stack.secrets)
    assert done.returncode != 0 and "bring them back" in done.stderr, done
    return "one sentence"


TESTS = [
    secrets_are_kept,
    a_killed_database_loses_nothing,
    the_rooms_can_be_moved_and_moved_back,
    a_backup_can_be_restored,
    lost_secrets_are_not_made_up,
]
