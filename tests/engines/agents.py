#!/usr/bin/env python3
"""Two coding agents, Codex and Claude Code, through Ferrovia: each is asked one question and must end well.

    tests/engines/agents.py                      against real vLLM
    tests/engines/agents.py --engine simulator   against the simulated engine

The agents come from npm, at the versions of pins.sh, under $FERROVIA_CI/npm (default ~/.cache/ferrovia-ci/npm);
.ci/run installs them. Each runs with an empty home and an environment of its own, so that nothing of the user's own
set-up is read and nothing but Ferrovia is asked. Ending well means status 0 and an answer that is not empty: what a
model of 0.1 million parameters says is nobody's concern.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stack import Gateway, add_engine_option, engines_for, public_ids, settings_for
from suite import Tally

KEY = "sk-master-of-the-agents"
MODEL = "vllm/tiny-chat"
SECONDS = 120
"""For one question; either agent takes about five."""
TOOLS = Path(os.environ.get("FERROVIA_CI") or Path.home() / ".cache/ferrovia-ci") / "npm/node_modules/.bin"


def run(program, arguments, env, home):
    """The finished agent. It sees its own folder and the environment given, and no terminal."""
    if not (TOOLS / program).exists():
        raise FileNotFoundError(f"{TOOLS / program}: run .ci/run, or npm install what tests/engines/pins.sh names")
    return subprocess.run(
        [TOOLS / program, *arguments],
        env={"HOME": str(home), "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "NO_COLOR": "1"} | env,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def ended_well(done, answer):
    if done.returncode == 0 and answer.strip():
        print(f"      said {answer.strip()[:100]!r}", flush=True)
        return []
    return [
        f"status {done.returncode}, answer {answer[:300]!r}",
        f"output: {done.stdout[-1500:]}",
        f"errors: {done.stderr[-1500:]}",
    ]


def codex(gateway, home):
    """Codex speaks the Responses API."""
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'model = "{MODEL}"\n'
        'model_provider = "ferrovia"\n\n'
        "[model_providers.ferrovia]\n"
        'name = "Ferrovia"\n'
        f'base_url = "{gateway.url}/v1"\n'
        'env_key = "FERROVIA_KEY"\n'
        'wire_api = "responses"\n'
    )
    answer = home / "answer.txt"
    arguments = ["exec", "--skip-git-repo-check", "-s", "read-only", "-o", str(answer), "Hello"]
    done = run("codex", arguments, {"FERROVIA_KEY": KEY}, home)
    return ended_well(done, answer.read_text() if answer.exists() else "")


def claude(gateway, home):
    """Claude Code speaks the Messages API."""
    env = {
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    done = run("claude", ["-p", "Hello", "--model", MODEL, "--output-format", "json"], env, home)
    answer = ""
    with contextlib.suppress(ValueError):
        told = json.loads(done.stdout)
        if told.get("is_error"):
            return [f"ended with an error: {told}"]
        answer = told.get("result") or ""
    return ended_well(done, answer)


def in_an_empty_home(agent, gateway):
    with tempfile.TemporaryDirectory(prefix="ferrovia-agent-", ignore_cleanup_errors=True) as home:
        return agent(gateway, Path(home))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_engine_option(parser)
    asked = parser.parse_args()
    tally = Tally()
    with contextlib.ExitStack() as stack:
        engines = stack.enter_context(engines_for(asked.engine))
        gateway = stack.enter_context(Gateway(settings_for(engines), KEY))
        gateway.wait_for_models(public_ids(engines))
        for agent in (codex, claude):
            tally.run(f"agent: {agent.__name__}", in_an_empty_home, agent, gateway)
    return tally.end(f"agents on {asked.engine} engines")


if __name__ == "__main__":
    sys.exit(main())
