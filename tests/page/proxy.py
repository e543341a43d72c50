"""A TCP proxy in front of the server that can do what networks do."""

import socket
import threading


class Proxy:
    """Forwards connections to the server's port, until it is told to misbehave.

    `edit(data)` is called with what the server sends, a piece at a time, and returns what the
    client gets; None cuts the connection. What the server sends on a frozen connection is gone,
    and nobody is told.
    """

    def __init__(self, server):
        self.server = server
        self.edit = lambda data: data
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze_streams(self):
        """Lets the streams of now go silent; whatever comes later works."""
        for pair in self.pairs:
            pair["frozen"] = pair["stream"]

    def close(self):
        self.listener.close()
        for pair in self.pairs:
            self._cut(pair)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", self.server.port))
            except OSError:
                client.close()
                continue
            pair = {"sockets": (client, upstream), "stream": False, "frozen": False}
            self.pairs.append(pair)
            threading.Thread(target=self._pump, args=(pair, client, upstream, lambda data: data), daemon=True).start()
            threading.Thread(target=self._pump, args=(pair, upstream, client, lambda data: self.edit(data)), daemon=True).start()

    def _pump(self, pair, source, sink, edit):
        try:
            while data := source.recv(65536):
                pair["stream"] |= data.startswith(b"HTTP/1.1 200") and b"text/event-stream" in data
                data = b"" if pair["frozen"] else edit(data)
                if data is None:
                    break
                sink.sendall(data)
        except OSError:
            pass
        if not pair["frozen"]:
            self._cut(pair)

    @staticmethod
    def _cut(pair):
        for end in pair["sockets"]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
