#!/usr/bin/env python3
"""Compares the simulated engine with the real one: the same calls to both, and the shapes of their replies.

    tests/engines/likeness.py        real vLLM and `ferrovia simulate`, side by side

The two say different words, so values are not compared, but everything else that a program could trip over is:
status, headers, members and their order, types, nulls, how bodies are spaced, the words of enumerations
(`"object":"chat.completion"`), the kinds of events and their order, and for refusals type, parameter and code. What may
differ stands in `ignore.json` under `likeness`, with its reason.
"""

import argparse
import contextlib
import json
import re
import sys
import tempfile
from pathlib import Path

import cases
from differ import IGNORE, choice_of, differences, matches
from stack import engines_for, start_engines, stop_engines
from suite import BATCHINGS, Tally

WORDS = {
    "object",
    "type",
    "role",
    "finish_reason",
    "status",
    "stop_reason",
    "param",
    "code",
    "truncation",
    "tool_choice",
}
"""Members whose words are part of the shape."""


def shape(value, name=None):
    """What remains of a JSON value when its particulars are gone."""
    if isinstance(value, dict):
        if name == "top_logprobs":
            return "a float for each token"
        if value and all(key.isdigit() for key in value):  # by token id
            return {"a token": shape(list(value.values()))}
        return {key: shape(one, key) for key, one in value.items()}
    if isinstance(value, list):
        kinds = []
        for one in value:
            kind = shape(one, name)
            if kind not in kinds:
                kinds.append(kind)
        return kinds
    if isinstance(value, str):
        return value if name in WORDS else "a string"
    if value is None or isinstance(value, bool):
        return value
    return "an integer" if isinstance(value, int) else "a float"


def has_space(text):
    """Whether there is white space between the tokens of a JSON text."""
    return re.search(rb"\s", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text)) is not None


def story(reply):
    """A stream as its events' shapes; as many of a kind in a row count as one, for that is a matter of words."""
    told = []
    events = [(one.name, (one.data or b"").decode()) for one in reply.events()]
    decoded = [(name, json.loads(data) if data.startswith("{") else data) for name, data in events]
    for name, data in sorted(decoded, key=lambda one: choice_of(one[1])):
        one = {"event": name, "data": shape(data)}
        if not told or told[-1] != one:
            told.append(one)
    return told


def known(case, complaint):
    """Whether `ignore.json` allows this difference in this case."""
    path = complaint.split(":")[0].strip(".").replace("[", ".").replace("]", "").split(".")
    rules = [rule for rule in IGNORE["likeness"] if case.name.startswith(rule["case"])]
    return any(matches(rule["path"], tuple(path)) for rule in rules)


def compare(case, real, simulated):
    """Where the two differ. A stream may be asked for again: how a busy engine cuts one into events is chance."""
    for engine in (real, simulated):
        engine.server.call(case.method, case.path, case.written(engine.model), case.headers)  # fills caches
    for _ in range(BATCHINGS):
        replies = [
            one.server.call(case.method, case.path, case.written(one.model), case.headers) for one in (real, simulated)
        ]
        found = compare_replies(case, *replies)
        if not found or not all(reply.is_stream for reply in replies):
            break
    return found


def compare_replies(case, theirs, ours):
    replies, found = (theirs, ours), []
    if theirs.status != ours.status:
        return [f"status: real {theirs.status}, simulated {ours.status}: {ours.body[:300]!r}"]
    for name in sorted({name for reply in replies for name, _ in reply.headers}):
        left, right = theirs.header(name), ours.header(name)
        if name in ("date", "content-length"):  # whether there is one, not which
            left, right = left is None, right is None
        if left != right:
            found.append(f"headers.{name}: real {left!r}, simulated {right!r}")
    if theirs.is_stream != ours.is_stream:
        return [*found, "only one of the two streams"]
    if theirs.is_stream:
        found += differences(story(theirs), story(ours), "events")
        texts = [one.data for reply in replies for one in reply.events() if (one.data or b"").startswith(b"{")]
        if len({has_space(text) for text in texts}) != 1:
            found.append("spacing: events are spaced differently")
    elif not theirs.body or not ours.body:
        found += differences(theirs.body.decode(), ours.body.decode(), "body")
    else:
        found += differences(shape(theirs.json()), shape(ours.json()))
        if has_space(theirs.body) != has_space(ours.body):
            found.append(f"spacing: real {theirs.body[:80]!r}, simulated {ours.body[:80]!r}")
    return [one for one in found if not known(case, one)][:12]


def calls():
    """Each call of the suite once: the passthrough's are the same as others, but for a few paths."""
    seen = set()
    for case in cases.CASES:
        key = (case.serves, case.method, case.path, repr(case.body))
        if key not in seen:
            seen.add(key)
            yield case
    for serves, path in [("chat", "/health"), ("chat", "/ping"), ("embed", "/version"), ("rerank", "/v1/models")]:
        yield cases.Case(f"GET {path}", serves, path, None, method="GET")
    nobody = {"model": "nope", "messages": cases.HELLO, "max_tokens": 5}
    yield cases.Case("unknown model, messages", "chat", cases.MESSAGES, nobody)
    yield cases.Case("cut JSON, messages", "chat", cases.MESSAGES, b'{"model":"$MODEL","messages":')
    yield cases.Case("a chat engine asked for embeddings", "chat", "/v1/embeddings", {"model": "$MODEL", "input": "x"})
    yield cases.Case("an embedding engine asked to chat", "embed", cases.CHAT, nobody)


def without_key(real, simulated):
    """What the key guards, and how a stranger is told."""
    found = []
    for method, path in [("GET", "/v1/models"), ("POST", cases.CHAT), ("GET", "/health"), ("GET", "/version")]:
        body = {"model": real.model, "messages": cases.HELLO} if method == "POST" else None
        replies = [one.server.call(method, path, body, {"authorization": None}) for one in (real, simulated)]
        if replies[0].status != replies[1].status:
            found.append(f"{path}: real {replies[0].status}, simulated {replies[1].status}")
        elif replies[0].status == 401 and replies[0].body != replies[1].body:
            found.append(f"{path}: real {replies[0].body!r}, simulated {replies[1].body!r}")
    return found


def metrics(real, simulated):
    """The simulated engine's metrics are some of the real one's, under the same names."""

    def names(engine):
        text = engine.server.call("GET", "/metrics").body.decode()
        return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE vllm:")}

    invented = names(simulated) - names(real)
    found = [f"metrics that vLLM does not have: {sorted(invented)}"] if invented else []
    wanted = {"vllm:num_requests_running", "vllm:num_requests_waiting"}
    return found + [f"no {name}" for name in sorted(wanted - names(simulated))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-k", metavar="TEXT", help="only checks with this text in their name")
    asked = parser.parse_args()
    tally = Tally(asked.k)
    with contextlib.ExitStack() as stack:
        real = {one.instance: one for one in stack.enter_context(engines_for("real"))}
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ferrovia-simulated-"))
        started = start_engines("simulator", Path(folder), only=list(real))
        stack.callback(stop_engines, started)
        simulated = {one.instance: one for one in started}
        instances = {one.serves: one.instance for one in reversed(list(real.values()))}
        for case in calls():
            if instance := instances.get(case.serves):
                tally.run(f"{instance}: {case.name}", compare, case, real[instance], simulated[instance])
        keyed = next(name for name, one in real.items() if one.key)
        tally.run("without a key", without_key, real[keyed], simulated[keyed])
        tally.run("metrics", metrics, real[keyed], simulated[keyed])
    return tally.end("likeness of the simulated engine")


if __name__ == "__main__":
    sys.exit(main())
