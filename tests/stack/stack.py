"""The stack under test: driven through make and Docker, as a person would."""

import asyncio
import calendar
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "catchat-test"
COMMAND_WAIT_S = 600


class CommandFailed(AssertionError):
    """A command that should succeed did not."""


def say(result, text):
    """A line of the report."""
    print(f"{result:>7}  {text}", flush=True)


async def in_thread(function, *arguments):
    """A command of the stack's, while the load goes on."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Stack:
    """A stack of its own: another project, image tag, volume and port than a user's."""

    def __init__(self, store):
        self.store = store
        self.project = f"catchat-test-{os.getpid()}"
        self.services = ["chat", "nginx"] + (["mysql"] if store == "mysql" else [])
        self.secrets = ROOT / "secrets" / self.project
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "CATCHAT_PORT": f"127.0.0.1:{self.port}",
            "CATCHAT_IMAGE": IMAGE,
        }
        # What an outer make exported is not for the makes that are run here.
        for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "COMPOSE_FILE", "N", "STORE"):
            self.environment.pop(name, None)

    def make(self, *arguments, check=True, **environment):
        """Runs make on the stack's fragment alone."""
        return self.run("make", "--file", "stack.mk", *arguments, check=check, **environment)

    def up(self, store=None):
        """Starts it, or changes its store."""
        store = store or self.store
        return self.make("up", *(["STORE=mysql"] if store == "mysql" else []))

    def docker(self, *arguments, check=True):
        """Runs docker; its output without the line's end."""
        return self.run("docker", *arguments, check=check).stdout.strip()

    def run(self, *command, check=True, stdin="", **environment):
        """Runs a command in the project's directory, in this stack's environment."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_WAIT_S,
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr)[-3000:]
            raise CommandFailed(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
        return done

    def containers(self, service):
        """The ids of a service's running containers."""
        return self.docker("compose", "--profile", "mysql", "ps", "--quiet", service).split()

    def query(self, statement, check=True):
        """What MySQL answers to the servers' own account, without the columns' names."""
        (database,) = self.containers("mysql")
        client = ("mysql", "--defaults-extra-file=/run/secrets/client.cnf", "--host=127.0.0.1")
        words = ("docker", "exec", database, *client, "--skip-column-names", "--execute", statement)
        done = self.run(*words, "catchat", check=check)
        return (done.stdout + done.stderr).strip()

    def inspect(self, container):
        """All that Docker knows of a container."""
        return json.loads(self.docker("inspect", container))[0]

    def newest_start(self):
        """When the last of the servers was started, on time.time()'s clock."""
        starts = self.docker("inspect", "--format", "{{.State.StartedAt}}", *self.containers("chat"))
        return max(_seconds(start) for start in starts.split())

    def image_bytes(self):
        """The size of the image."""
        return int(self.docker("image", "inspect", "--format", "{{.Size}}", IMAGE))

    def memory(self):
        """How much memory each container uses, in Docker's words."""
        ids = [one for service in self.services for one in self.containers(service)]
        form = "{{.Name}} {{.MemUsage}}"
        rows = self.docker("stats", "--no-stream", "--format", form, *ids).splitlines()
        short = (row.removeprefix(f"{self.project}-").split(" / ")[0] for row in rows)
        return sorted(short)

    def logs(self):
        """The last that the containers reported."""
        return self.docker(
            *("compose", "--profile", "mysql", "logs", "--no-color", "--tail", "15"), check=False
        )

    def remove(self):
        """Removes all of it, with its rooms, its secrets and its image's tag."""
        # In a session of its own: a second Ctrl-C must not leave a half of it.
        down = ["docker", "compose", "--profile", "mysql", "down", "--volumes", "--remove-orphans"]
        down += ["--timeout", "3"]
        for command in (down, ["docker", "image", "rm", IMAGE]):
            subprocess.run(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=COMMAND_WAIT_S,
            )
        shutil.rmtree(self.secrets, ignore_errors=True)


def _seconds(stamp):
    """Docker's time stamp as seconds since 1970."""
    whole, fraction = re.match(r"([\dT:-]+)(\.\d+)?Z", stamp).groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(fraction or 0)
