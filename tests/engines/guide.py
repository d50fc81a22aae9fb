#!/usr/bin/env python3
"""Runs the commands of a guide against real vLLM, so that the guide cannot promise what does not work.

    tests/engines/guide.py docs/guides/vllm.md

Python blocks run whole. Of shell blocks, the lines that ask (`curl …`, `ferrovia doctor` and its like) run as they
stand; those that start servers or set the environment have been done already, and are told apart below. Addresses,
keys and model names of the suite take the place of the guide's. Runs in the environment of the SDKs that .ci/run makes.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from stack import Gateway, binary, engines_for, public_ids, settings_for, speech_engine
from suite import Tally

KEY = "sk-master-of-the-guide"
DONE_ALREADY = (
    "vllm serve",
    "docker run",
    "docker compose",
    "docker build",
    "export ",
    "git clone",
    "cd ",
    "cargo build",
    "cargo install",
    "pip install",
)
"""How lines begin that start what runs here already, or install it."""
SETTING = re.compile(r"^[A-Z][A-Z0-9_]*=\S*(\s+[A-Z][A-Z0-9_]*=\S*)*(\s*#.*)?$")
ASKING = ("ferrovia ", "cargo run --release -- ", "cargo run -- ")
SUBCOMMANDS = ("check", "config", "doctor", "health", "models", "version")


def programs(text):
    """(line number, source) of every Python block."""
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
        yield text.count("\n", 0, block.start()) + 2, block.group(1)


def commands(text):
    """(line number, command) of every line in shell blocks, continued lines joined."""
    found, fence, pending, began, quoted = [], None, "", 0, False
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*```+\s*(\w*)", line)
        if mark and not quoted:
            fence = None if fence is not None else mark.group(1)
            continue
        if fence not in ("bash", "sh", "shell", "console"):
            continue
        stripped = line if quoted else line.strip().removeprefix("$ ")
        if not pending and (not stripped or stripped.startswith("#")):
            continue
        began = began if pending else number
        pending += ("\n" if quoted else "") + stripped
        quoted = pending.count("'") % 2 == 1
        if not quoted and pending.endswith("\\"):
            pending = pending[:-1]
        elif not quoted:
            found.append((began, pending))
            pending = ""
    return found


def substitutions(gateway, engines):
    """From the guide's names to those of the servers here, longest first."""
    by_name = {one.instance: one for one in engines}
    chat = by_name["vllm"]
    pairs = {
        "http://localhost:8080": gateway.url,
        "http://127.0.0.1:8080": gateway.url,
        "http://localhost:8000": chat.url,
        "http://host.docker.internal:8000": chat.url,
        "change-me": KEY,
        "token-abc123": chat.key or "",
        "meta-llama/Llama-3.1-8B-Instruct": chat.model,
        "meta-llama%2FLlama-3.1-8B-Instruct": chat.model,
    }
    for instance, names in {
        "vllm-embed": ["BAAI/bge-m3", "sentence-transformers/all-MiniLM-L6-v2"],
        "vllm-rerank": ["BAAI/bge-reranker-v2-m3"],
        "vllm-speech": ["openai/whisper-large-v3"],
    }.items():
        if instance in by_name:
            pairs |= dict.fromkeys(names, by_name[instance].model)
    return sorted(pairs.items(), key=lambda pair: -len(pair[0]))


def tries(command, gateway):
    env = {**gateway.env, "PATH": os.environ["PATH"]}
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write("set -o pipefail\n" + command + "\n")
        script.flush()
        done = subprocess.run(
            ["bash", script.name],
            env=env,
            cwd=gateway.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode != 0 or not done.stdout.strip():
        return [f"status {done.returncode}", f"output: {done.stdout[-800:]}", f"errors: {done.stderr[-800:]}"]
    return []


def runs(source, pairs):
    for old, new in pairs:
        source = source.replace(old, new)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False)
    return [] if done.returncode == 0 else [f"status {done.returncode}: {done.stderr[-800:]}"]


def prepared(command, pairs):
    """The command as it can run here; None for what runs here already."""
    for old, new in pairs:
        command = command.replace(old, new)
    bare = re.sub(r"^([A-Z][A-Z0-9_]*=\S+ )+", "", command)
    if SETTING.match(command) or bare.startswith(DONE_ALREADY):
        return None
    if bare.startswith("curl "):
        return command.replace("curl ", "curl --show-error --fail-with-body --max-time 60 ", 1)
    for prefix in ASKING:
        rest = bare.removeprefix(prefix)
        if rest != bare:
            if rest.split()[0] in SUBCOMMANDS:
                return f"{binary()} {rest}"
            return None
    if bare in ("ferrovia", "cargo run --release"):
        return None
    raise ValueError("untried: neither a question, nor known to be done already")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: guide.py GUIDE.md")
    guide = Path(sys.argv[1])
    tally = Tally()
    with contextlib.ExitStack() as stack:
        engines = [*stack.enter_context(engines_for("real")), stack.enter_context(speech_engine())]
        gateway = stack.enter_context(Gateway(settings_for(engines), KEY))
        gateway.wait_for_models(public_ids(engines))
        (gateway.folder / "meeting.wav").write_bytes(b"RIFF" + bytes(2_000_000))
        pairs = substitutions(gateway, engines)

        def run(command):
            return tries(prepared(command, pairs), gateway)

        def is_done(command):
            try:
                return prepared(command, pairs) is None
            except ValueError:
                return False  # running it will say so

        text = guide.read_text()
        for number, command in commands(text):
            name = f"{guide.name}:{number}: {command.splitlines()[0][:90]}"
            if is_done(command):
                print(f"told  {name}  (runs here already, or is what this run is made with)")
                continue
            tally.run(name, run, command)
        for number, source in programs(text):
            tally.run(f"{guide.name}:{number}: a Python program", runs, source, pairs)
    return tally.end(f"commands of {guide.name}")


if __name__ == "__main__":
    sys.exit(main())
