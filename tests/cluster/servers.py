"""The catchat servers, each in its node's namespace, and how they are asked."""

import http.client
import subprocess
import time
import urllib.parse

import network

PORT = 8080
START_WITHIN_S = 30
ANSWER_WITHIN_S = 40


class Server:
    def __init__(self, program, node, directory, port=PORT):
        self.program, self.node, self.port = program, node, port
        self.said = f"{directory}/server{node.number}-{port}.log"
        self.process = None

    @property
    def address(self):
        return network.CLIENTS + str(self.node.number)

    def start(self):
        command = network.within(
            self.node.number, self.program, "--listen", f"{self.address}:{self.port}",
            "--store", self.node.url,
        )
        with open(self.said, "ab") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/"
            )

    def wait_ready(self):
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            try:
                if self.get("/-/health", within=5)[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server on node {self.node.number}\n{self.log()}")
            time.sleep(0.05)

    def connect(self, within=ANSWER_WITHIN_S):
        return http.client.HTTPConnection(self.address, self.port, timeout=within)

    def get(self, target, headers=None, within=ANSWER_WITHIN_S):
        """The status, the header fields and the body."""
        return self.ask("GET", target, None, headers or {}, within)

    def post(self, room, username, message, after=None, within=ANSWER_WITHIN_S):
        fields = {"username": username, "message": message}
        if after is not None:
            fields["after"] = after
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(fields)
        return self.ask("POST", f"/chat/{room}", body, headers, within)

    def ask(self, method, target, body, headers, within):
        connection = self.connect(within)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()

    def log(self):
        if self.process is None:
            return "(not started)"
        with open(self.said, errors="replace") as said:
            return "".join(said.readlines()[-20:])
