#!/usr/bin/env python3
"""Starts and stops the servers that the suites talk to: engines, real or simulated, and Ferrovia in front of them.

    tests/engines/stack.py up [--engine real|simulator]     engines in the background, ready when it returns
    tests/engines/stack.py status
    tests/engines/stack.py down

The suites use engines that are up, and start and stop their own where none are. Each runs its own Ferrovia, which
takes milliseconds. Everything listens on 127.0.0.1; state and logs lie in $FERROVIA_STACK.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from wire import Server, free_port, wait_until

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("FERROVIA_ENGINES") or Path.home() / ".cache/ferrovia-engines")
STATE = Path(os.environ.get("FERROVIA_STACK") or CACHE / "stack")

TASKS = {"chat": "generate", "embed": "embed", "rerank": "classify", "speech": "transcribe"}
"""What the simulated engine calls these."""

READY = {"real": 400, "simulator": 10}
"""Seconds that an engine has to become ready. A real one takes 40 alone on two idle cores, four at once 150."""


@dataclass(frozen=True)
class Kind:
    """An engine that the suites need: its instance name at the gateway, what it serves, whether it asks for a key."""

    instance: str
    serves: str
    model: str
    key: str | None


KINDS = [
    Kind("vllm", "chat", "tiny-chat", "sk-upstream"),
    Kind("vllm-test", "chat", "tiny-chat", None),
    Kind("vllm-embed", "embed", "all-minilm-l6-v2", "sk-embed"),
    Kind("vllm-rerank", "rerank", "tiny-rerank", None),
]

SPEECH = Kind("vllm-speech", "speech", "tiny-whisper", None)
"""A speech engine: simulated, because a real one needs a model that no package registry has."""


@dataclass(frozen=True)
class Process:
    """Something that we started: its pid, and the kernel's start time of it, so that a pid used anew by a stranger is
    never signalled."""

    pid: int
    began: str

    @staticmethod
    def of(pid):
        return Process(pid, Process._began(pid) or "")

    @staticmethod
    def _began(pid):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]

    def alive(self):
        return self._began(self.pid) == self.began

    def stop(self, seconds=30):
        """SIGTERM, and SIGKILL to its process group if that was not enough."""
        if not self.alive():
            return
        os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            until = time.monotonic() + seconds
            while self.alive() and time.monotonic() < until:
                time.sleep(0.05)
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)


def spawn(command, log, env=None, cwd=None):
    """Starts a program in a session of its own, with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )


def tail(log, lines=25):
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"


def binary():
    """The ferrovia to test: $FERROVIA_BIN, or the newest of release and debug under $CARGO_TARGET_DIR."""
    if named := os.environ.get("FERROVIA_BIN"):
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    built = [target / profile / "ferrovia" for profile in ("release", "dist", "debug")]
    built = [one for one in built if one.is_file()]
    if not built:
        sys.exit(f"no ferrovia under {target}: run `cargo build --release`, or set FERROVIA_BIN")
    return max(built, key=lambda one: one.stat().st_mtime)


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    instance: str
    serves: str
    model: str
    key: str | None
    url: str
    process: Process

    @property
    def server(self):
        return Server(self.url, self.key)


def start_engines(engine, state=STATE, only=None, flags=(), kinds=KINDS):
    """Starts all engines, or only those named, side by side, and waits until each answers /health. `flags` are for the
    simulated ones."""
    state.mkdir(parents=True, exist_ok=True)
    engines, children = [], []
    try:
        for kind in kinds:
            if only and kind.instance not in only:
                continue
            port = free_port()
            if engine == "real":
                command = [HERE / "engine.sh", kind.serves, port, *([kind.key] if kind.key else [])]
            else:
                command = [
                    binary(),
                    "simulate",
                    "--port",
                    port,
                    "--model",
                    kind.model,
                    "--task",
                    TASKS[kind.serves],
                    *flags,
                ]
                command += ["--api-key", kind.key] if kind.key else []
            child = spawn(command, state / f"{kind.instance}.log")
            children.append(child)
            process = Process.of(child.pid)
            url = f"http://127.0.0.1:{port}"
            engines.append(Engine(kind.instance, kind.serves, kind.model, kind.key, url, process))
        for one, child in zip(engines, children, strict=True):

            def ended(one=one, child=child):
                if child.poll() is None:
                    return None
                return f"ended with status {child.returncode}:\n{tail(state / f'{one.instance}.log')}"

            wait_until(
                lambda one=one: one.server.call("GET", "/health", timeout=5).status == 200,
                READY[engine],
                f"engine {one.instance}",
                ended,
            )
    except BaseException:
        stop_engines(engines)
        raise
    return engines


def stop_engines(engines):
    for one in engines:
        with contextlib.suppress(ProcessLookupError):
            if one.process.alive():
                os.kill(one.process.pid, signal.SIGTERM)
    for one in engines:
        with contextlib.suppress(ProcessLookupError):
            one.process.stop()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(one.process.pid, 0)


def saved(engine, state=STATE):
    """The engines that `up` has started, if all of them still run; else None."""
    try:
        told = json.loads((state / "engines.json").read_text())
    except (OSError, ValueError):
        return None
    engines = [Engine(**{**one, "process": Process(**one["process"])}) for one in told["engines"]]
    if told["engine"] != engine or not all(one.process.alive() for one in engines):
        return None
    return engines


@contextlib.contextmanager
def engines_for(engine):
    """Engines that are up, or new ones that stop at the end."""
    if running := saved(engine):
        yield running
        return
    with tempfile.TemporaryDirectory(prefix="ferrovia-engines-") as folder:
        engines = start_engines(engine, Path(folder))
        try:
            yield engines
        finally:
            stop_engines(engines)


@contextlib.contextmanager
def speech_engine():
    """A simulated speech engine that stops at the end."""
    with tempfile.TemporaryDirectory(prefix="ferrovia-speech-") as folder:
        engines = start_engines("simulator", Path(folder), flags=["--subtitles"], kinds=[SPEECH])
        try:
            yield engines[0]
        finally:
            stop_engines(engines)


class Gateway:
    """A Ferrovia of our own on a free port, with nothing in its environment but what is given. Use it as a context."""

    def __init__(self, settings, key="sk-master"):
        self.key = key
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="ferrovia-gateway-"))
        self.env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "PORT": str(self.port),
            "METRICS_ENABLED": "true",
            **({"FERROVIA_MASTER_KEY": key} if key else {}),
            **settings,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = Server(self.url, key)
        self.process = None

    @property
    def log(self):
        return self.folder / "ferrovia.log"

    def __enter__(self):
        self.child = spawn([binary()], self.log, env=self.env, cwd=self.folder)
        self.process = Process.of(self.child.pid)

        def ended():
            if self.child.poll() is None:
                return None
            return f"ended with status {self.child.returncode}:\n{tail(self.log)}"

        wait_until(lambda: self.server.call("GET", "/health", timeout=5).status == 200, 15, "ferrovia", ended)
        return self

    def __exit__(self, kind, *_):
        self.process.stop()
        self.child.wait()
        if kind is not None and kind is not GeneratorExit:
            print(f"--- last lines of ferrovia's log\n{tail(self.log)}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for_models(self, ids, seconds=20):
        """Waits until the inventory, which start-up never waits for, has all of these."""

        def listed():
            reply = self.server.call("GET", "/v1/models")
            return set(ids) <= {one["id"] for one in reply.json().get("data", [])}

        wait_until(listed, seconds, f"models {sorted(ids)} at /v1/models")


def settings_for(engines, urls=None):
    """Ferrovia's environment for these engines; `urls` puts a tee in front of some. Base URLs are given in both
    spellings that users write, with and without /v1."""
    settings = {}
    for index, one in enumerate(engines):
        prefix = one.instance.upper().replace("-", "_")
        settings[f"{prefix}_BASE_URL"] = (urls or {}).get(one.instance, one.url) + ("/v1" if index % 2 == 0 else "")
        if one.key:
            settings[f"{prefix}_API_KEY"] = one.key
    return settings


def public_ids(engines):
    return [f"{one.instance}/{one.model}" for one in engines]


def add_engine_option(parser):
    parser.add_argument("--engine", choices=["real", "simulator"], default="real", help="default: real")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["up", "status", "down"])
    parser.add_argument("--only", help="instances to start, comma-separated: on a machine with little memory")
    add_engine_option(parser)
    asked = parser.parse_args()
    state = STATE / "engines.json"
    if asked.what == "up":
        if saved(asked.engine):
            print("engines: already up")
            return
        began = time.monotonic()
        engines = start_engines(asked.engine, only=asked.only and asked.only.split(","))
        state.write_text(json.dumps({"engine": asked.engine, "engines": [asdict(one) for one in engines]}, indent=1))
        print(f"engines: up after {time.monotonic() - began:.0f} s")
        asked.what = "status"
    told = json.loads(state.read_text()) if state.exists() else {"engines": []}
    engines = [Engine(**{**one, "process": Process(**one["process"])}) for one in told["engines"]]
    if asked.what == "down":
        stop_engines(engines)
        state.unlink(missing_ok=True)
        print(f"engines: {len(engines)} stopped")
        return
    for one in engines:
        running = "running" if one.process.alive() else "gone"
        print(f"  {one.instance:12} {one.url}  {one.model:18} key {one.key or '-':12} pid {one.process.pid} {running}")
    if not engines:
        print("engines: none")


if __name__ == "__main__":
    main()
