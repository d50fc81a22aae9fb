#!/usr/bin/env python3
"""Runs the README's first command as a newcomer would, and tries what it prints.

    demo.py -- cargo run --release -- demo

The demo must prove itself, print a curl line and lines for the SDKs, go on serving while those are tried exactly as
printed, and end well at Ctrl-C.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from suite import Tally
from wire import wait_until

SECONDS = 900
"""The first run on a new machine builds everything."""


def printed_curls(text):
    """The curl commands in what was printed, lines that end in a backslash joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line.startswith("curl ")]


def tries_curl(command):
    """The line as printed, typed into a shell; curl is only told to fail on a refusal and to be quiet."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(command.replace("curl ", "curl --silent --show-error --fail-with-body --max-time 60 ", 1))
        script.flush()
        done = subprocess.run(["bash", script.name], capture_output=True, text=True, timeout=90, check=False)
    if done.returncode != 0 or '"choices"' not in done.stdout:
        return [f"status {done.returncode}: {done.stdout[:500]} {done.stderr[:500]}", f"the line: {command}"]
    return []


def tries_sdk(text):
    """The lines for Python, as printed, with a call behind them where they only make a client."""
    lines = re.findall(r"^\s*(?:>>> )?((?:from|import) (?:openai|anthropic)\b.*|\w+ = .*(?:OpenAI|Anthropic)\(.*\).*|"
                       r"(?:print\()?\w+\.(?:chat|messages|responses)\..*)$", text, re.M)  # fmt: skip
    if not lines:
        return ["no lines for an SDK were printed"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=90, check=False
    )
    return [] if done.returncode == 0 else [f"{lines}: {done.stderr[-800:]}"]


def main():
    command = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not command:
        sys.exit("usage: demo.py -- COMMAND")
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="ferrovia-demo-") as folder:
        log = Path(folder) / "output"
        with log.open("wb") as out:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:

            def ready():
                text = log.read_text(errors="replace")
                return text if printed_curls(text) and "Ctrl-C" in text else None

            def ended():
                return None if child.poll() is None else f"ended with status {child.returncode}:\n{log.read_text()}"

            text = wait_until(ready, SECONDS, "the demo's last line, after a curl line", ended)
            print(text)
            for command_line in printed_curls(text):
                tally.run(f"demo: {command_line[:60]}…", tries_curl, command_line)
            tally.run("demo: the SDK lines", tries_sdk, text)

            def ends_well():
                child.send_signal(signal.SIGINT)
                status = child.wait(timeout=20)
                return [] if status == 0 else [f"status {status} after Ctrl-C"]

            tally.run("demo: ends at Ctrl-C", ends_well)
        finally:
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
    return tally.end("the README's demo")


if __name__ == "__main__":
    sys.exit(main())
