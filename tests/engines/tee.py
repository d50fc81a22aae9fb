"""A window between gateway and engine: relays every byte, and remembers both sides of each exchange.

With it a test compares what the client got with what the engine sent *in the same call*, so that not even an id
or the way tokens were batched may differ; and it sees which headers and which key went upstream. It can also play
an engine that lacks a route.
"""

import contextlib
import select
import socket
import threading
import urllib.parse
from dataclasses import dataclass

from wire import Broken, Message, Reader, wait_until


@dataclass
class Exchange:
    """One request as the gateway sent it, and the engine's reply."""

    request: Message
    request_bytes: bytes
    reply: Message | None = None
    over: bool = False


class Tee:
    """Listens on a port of its own in front of `upstream` (scheme, host and port). Use it as a context."""

    def __init__(self, upstream):
        address = urllib.parse.urlsplit(upstream)
        self.upstream = (address.hostname, address.port)
        self.missing = set()
        """Paths that this engine does not have: answered the way vLLM answers an unknown route."""
        self.exchanges = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def of(self, request_id):
        """All exchanges, finished or not, whose request carries this request id."""
        with self.lock:
            return [one for one in self.exchanges if one.request.header("x-request-id") == request_id]

    def finished(self, request_id, seconds=10):
        """The exchanges of a call, once their replies have passed through completely."""

        def done():
            found = self.of(request_id)
            return found if found and all(one.over for one in found) else None

        return wait_until(done, seconds, f"the upstream exchange of {request_id}")

    def forget(self):
        with self.lock:
            self.exchanges.clear()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError, Broken):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seen = bytearray()
            reader = Reader(client, seen.extend)
            while (request := reader.message()) is not None:
                exchange = Exchange(request, bytes(seen))
                seen.clear()
                with self.lock:
                    self.exchanges.append(exchange)
                try:
                    if request.target.split("?")[0] in self.missing:
                        self._refuse(client, exchange)
                    elif not self._relay(client, exchange):
                        return
                finally:
                    exchange.over = True

    def _refuse(self, client, exchange):
        body = b'{"detail":"Not Found"}'
        headers = [("content-length", str(len(body))), ("content-type", "application/json")]
        exchange.reply = Message("HTTP/1.1 404 Not Found", headers, body)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        client.sendall(f"{exchange.reply.start}\r\n{head}\r\n".encode() + body)

    def _relay(self, client, exchange):
        """Sends the request on and the reply back. False when either side has closed its connection."""
        with socket.create_connection(self.upstream) as engine:
            engine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            engine.sendall(exchange.request_bytes)
            answered = threading.Event()
            watch = threading.Thread(target=_close_when_gone, args=(client, engine, answered), daemon=True)
            watch.start()
            try:
                reader = Reader(engine, client.sendall)
                exchange.reply = reader.head()
                if exchange.reply is None:
                    return False
                for _ in reader.pieces(exchange.reply, exchange.request.method == "HEAD"):
                    pass
                return "close" not in (exchange.reply.header("connection") or "")
            except (OSError, Broken):
                if exchange.reply is not None:
                    exchange.reply.complete = False
                return False
            finally:
                answered.set()
                watch.join()


def _close_when_gone(client, engine, answered):
    """While the engine works, notices that the gateway hung up, and hangs up on the engine in turn."""
    while not answered.is_set():
        readable, _, _ = select.select([client], [], [], 0.02)
        if readable:
            with contextlib.suppress(OSError):
                if client.recv(1, socket.MSG_PEEK) == b"":
                    engine.shutdown(socket.SHUT_RDWR)
            return
