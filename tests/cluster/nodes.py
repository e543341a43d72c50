"""The databases: MariaDB nodes with Galera, each in a directory and a namespace of its own."""

import os
import re
import signal
import subprocess
import time

import network

DATABASE, USER, PASSWORD = "chat", "catchat", "only-for-tests"
PROVIDER = "/usr/lib/galera/libgalera_smm.so"
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
SYNCED_WITHIN_S = 60
END_WITHIN_S = 30


class Node:
    def __init__(self, number, directory):
        self.number = number
        self.directory = f"{directory}/node{number}"
        self.process = None
        os.mkdir(self.directory)
        subprocess.run(("chown", "nobody:nogroup", self.directory), check=True)
        with open(f"{self.directory}/accounts.sql", "w") as accounts:
            accounts.write(
                f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
                f"CREATE USER IF NOT EXISTS {USER} IDENTIFIED BY '{PASSWORD}';\n"
                f"GRANT ALL ON {DATABASE}.* TO {USER};\n"
            )

    @property
    def address(self):
        return network.CLUSTER + str(self.number)

    @property
    def url(self):
        return f"mysql://{USER}:{PASSWORD}@{self.address}:3306/{DATABASE}"

    def install(self):
        command = (
            "mariadb-install-db", "--no-defaults", f"--datadir={self.directory}/data",
            f"--tmpdir={self.directory}", "--skip-test-db", "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
        )
        done = subprocess.run(NOBODY + command, capture_output=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"mariadb-install-db fails: {done.stdout} {done.stderr}")

    def options(self):
        nodes = ",".join(network.CLUSTER + str(node) for node in network.NODES)
        return [
            "mariadbd", "--no-defaults", f"--datadir={self.directory}/data",
            # A node that starts removes what others have in its directory for temporary files.
            f"--tmpdir={self.directory}",
            f"--socket={self.directory}/socket", f"--pid-file={self.directory}/pid",
            f"--log-error={self.directory}/error.log", f"--bind-address={self.address}",
            "--skip-name-resolve", "--max-connections=200", "--performance-schema=off",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
            # The files are in memory, where there is no asynchronous I/O.
            "--innodb-flush-method=fsync", "--innodb-use-native-aio=0",
            "--innodb-flush-log-at-trx-commit=1", "--innodb-autoinc-lock-mode=2",
            "--binlog-format=ROW", "--wsrep-on=ON", f"--wsrep-provider={PROVIDER}",
            "--wsrep-cluster-name=catchat", f"--wsrep-cluster-address=gcomm://{nodes}",
            f"--wsrep-node-name=node{self.number}", f"--wsrep-node-address={self.address}",
            "--wsrep-sst-method=rsync", "--wsrep-provider-options=gcache.size=64M",
        ]

    def start(self, first=False, position=None):
        options = self.options()
        if first:
            options += ["--wsrep-new-cluster", f"--init-file={self.directory}/accounts.sql"]
        if position:
            options += [f"--wsrep-start-position={position}"]
        with open(f"{self.directory}/output", "ab") as output:
            command = network.within(self.number, *NOBODY, *options)
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, cwd=self.directory,
            )

    def restart(self):
        """Starts a node that was there before, from where its files say that it was."""
        recovery = f"{self.directory}/recovery.log"
        options = [option for option in self.options() if not option.startswith("--log-error")]
        command = network.within(
            self.number, *NOBODY, *options, "--wsrep-recover", f"--log-error={recovery}"
        )
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=self.directory)
        with open(recovery, errors="replace") as log:
            found = re.findall(r"Recovered position:\s*(\S+:-?\d+)", log.read())
        self.start(position=found[-1] if found else None)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(END_WITHIN_S)
        try:
            # What it has started, such as a transfer to another node.
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self):
        self.signal(signal.SIGTERM)
        self.process.wait(END_WITHIN_S)

    def query(self, statement, timeout=10):
        command = (
            "mariadb", "--no-defaults", f"--socket={self.directory}/socket", "--user=root",
            "--batch", "--skip-column-names", f"--database={DATABASE}", "--execute", statement,
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"node {self.number}: {statement}: {done.stderr.strip()}")
        return done.stdout.strip()

    def status(self, name):
        try:
            answer = self.query(f"SHOW STATUS LIKE '{name}'", timeout=5)
        except (RuntimeError, subprocess.TimeoutExpired):
            return ""
        return answer.split("\t")[-1]

    def is_synced(self, size):
        return self.status("wsrep_cluster_size") == str(size) and (
            self.status("wsrep_local_state_comment") == "Synced"
        )

    def wait_synced(self, size):
        deadline = time.monotonic() + SYNCED_WITHIN_S
        while not self.is_synced(size):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"node {self.number} is not synced with {size}\n{self.log()}")
            time.sleep(0.1)

    def log(self):
        try:
            with open(f"{self.directory}/error.log", errors="replace") as log:
                return "".join(log.readlines()[-40:])
        except FileNotFoundError:
            return "(no log)"
