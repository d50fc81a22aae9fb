"""HTTP/1.1 as bytes: requests written and replies read exactly, with nothing tidied on the way.

A client library would hide what these tests are about: spelling and order of headers, how a body is spaced, where
an event ends. So this speaks plain sockets and keeps everything it saw.
"""

import contextlib
import json
import re
import socket
import time
import urllib.parse
from dataclasses import dataclass, field

TIMEOUT = 120.0
"""Seconds of silence after which an exchange is given up."""


class Broken(Exception):
    """What arrived is not HTTP, or ended too early."""


@dataclass
class Message:
    """One request or reply. `start` is the first line; header names are lower case, in order, repeats kept."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True
    """False when the other side closed before the body's end."""

    def header(self, name):
        """The last value of a header, or None."""
        return next((value for key, value in reversed(self.headers) if key == name), None)

    @property
    def status(self):
        return int(self.start.split(" ", 2)[1])

    @property
    def method(self):
        return self.start.split(" ", 2)[0]

    @property
    def target(self):
        return self.start.split(" ", 2)[1]

    @property
    def is_stream(self):
        return (self.header("content-type") or "").startswith("text/event-stream")

    def json(self):
        return json.loads(self.body)

    def events(self):
        return split_events(self.body)


@dataclass(frozen=True)
class Event:
    """One server-sent event: its bytes without the blank line, its name and its data."""

    raw: bytes
    name: str | None
    data: bytes | None

    @property
    def is_comment(self):
        return self.data is None and self.name is None


def split_events(body):
    """The events of a stream. What stands behind the last blank line is an event too, so that a cut one shows."""
    events = []
    for raw in re.split(rb"\r\n\r\n|\n\n|\r\r", body):
        if not raw.strip():
            continue
        name, data = None, []
        for line in raw.splitlines():
            key, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if key == b"event":
                name = value.decode()
            elif key == b"data":
                data.append(value)
        events.append(Event(raw, name, b"\n".join(data) if data else None))
    return events


class Reader:
    """Reads messages from a socket. `tap`, if given, is called with every piece of bytes as it arrives."""

    def __init__(self, sock, tap=None):
        self.sock, self.tap, self.buffer = sock, tap, b""

    def _more(self):
        piece = self.sock.recv(65536)
        if piece and self.tap:
            self.tap(piece)
        self.buffer += piece
        return bool(piece)

    def _until(self, mark):
        while mark not in self.buffer:
            if not self._more():
                raise Broken(f"closed before {mark!r} came; last bytes {self.buffer[-200:]!r}")
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def _exactly(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise Broken(f"closed {count - len(self.buffer)} bytes early")
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def head(self):
        """First line and headers; None when the other side closed instead."""
        if not self.buffer and not self._more():
            return None
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise Broken(f"a header line without a colon: {line!r}")
            headers.append((name.lower(), value.strip()))
        return Message(lines[0], headers)

    def pieces(self, message, bodyless=False):
        """The body, piece by piece as it arrives; also collected in `message.body`."""
        is_reply = message.start.startswith("HTTP/")
        if bodyless or (is_reply and message.status in (204, 304)):
            return
        length = message.header("content-length")
        if "chunked" in (message.header("transfer-encoding") or ""):
            while True:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
                if size == 0:
                    while self._until(b"\r\n"):
                        pass  # trailers
                    return
                piece = self._exactly(size)
                self._exactly(2)
                message.body += piece
                yield piece
        elif length is not None:
            left = int(length)
            while left:
                if not self.buffer and not self._more():
                    raise Broken(f"closed {left} bytes before the end that content-length promised")
                piece, self.buffer = self.buffer[:left], self.buffer[left:]
                left -= len(piece)
                message.body += piece
                yield piece
        elif is_reply:
            while self.buffer or self._more():
                piece, self.buffer = self.buffer, b""
                message.body += piece
                yield piece

    def message(self, bodyless=False):
        """One whole message; None when the other side closed instead."""
        message = self.head()
        if message is not None:
            for _ in self.pieces(message, bodyless):
                pass
        return message


@dataclass
class Server:
    """Where to send, and with which key."""

    url: str
    key: str | None = None
    headers: dict = field(default_factory=dict)

    def connect(self, timeout=TIMEOUT):
        address = urllib.parse.urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port), timeout=timeout)

    def request(self, method, target, body=None, headers=None):
        """The bytes of a request. A body that is not bytes is written as compact JSON."""
        address = urllib.parse.urlsplit(self.url)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        lines = {"host": address.netloc, "accept": "*/*", "user-agent": "ferrovia-suite"}
        if body is not None:
            lines["content-type"] = "application/json"
            lines["content-length"] = str(len(body))
        if self.key:
            lines["authorization"] = f"Bearer {self.key}"
        lines.update(self.headers)
        lines.update(headers or {})
        head = f"{method} {address.path.rstrip('/')}{target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return head.encode("latin-1") + b"\r\n" + (body or b"")

    def call(self, method, target, body=None, headers=None, timeout=TIMEOUT):
        """One request on a connection of its own, and its whole reply."""
        with self.connect(timeout) as sock:
            sock.sendall(self.request(method, target, body, headers))
            reply = Reader(sock).message(bodyless=method == "HEAD")
            if reply is None:
                raise Broken(f"{method} {target}: the server closed without a reply")
            return reply

    @contextlib.contextmanager
    def open(self, method, target, body=None, headers=None, timeout=TIMEOUT):
        """Sends a request and hands out its reader, for those who want to leave in the middle."""
        with self.connect(timeout) as sock:
            sock.sendall(self.request(method, target, body, headers))
            yield Reader(sock)


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until(ready, seconds, what, gone=lambda: None):
    """Asks `ready` again and again until it answers with something true, which is returned.

    Raises when the time is up, or as soon as `gone` tells why it will never happen."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, Broken):
            if answer := ready():
                return answer
        if reason := gone():
            raise RuntimeError(f"{what}: {reason}")
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
