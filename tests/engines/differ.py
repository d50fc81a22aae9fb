"""Compares two replies and says exactly where they differ: the recursive differ behind the engine suite.

Two comparisons, each strict in what the other cannot be:

`against_engine`  the client's bytes against what the engine sent in the very same call (seen by the tee). Nothing
                  may differ but the changes that the gateway declares in `x-ferrovia-changes`: not an id, not a
                  space, not the way tokens are batched into events.
`against_direct`  the reply against one got by asking the engine directly. Ids and times differ between any two
                  calls; what may differ is listed, each with its reason, in `ignore.json`.
"""

import json
import math
import re
from pathlib import Path

from spans import replace, spans, without_member

_FLOAT = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
IGNORE = json.loads((Path(__file__).parent / "ignore.json").read_text())


def changes(reply):
    """What the gateway says it changed."""
    declared = reply.header("x-ferrovia-changes") or ""
    return {word.strip() for word in declared.split(",") if word.strip()}


def differences(left, right, path=""):
    """Each place where two JSON values differ, as `path: left, right`. Types count: 1 is not 1.0, nor true."""
    if type(left) is not type(right):
        return [f"{path or '.'}: {_short(left)}, {_short(right)}"]
    if isinstance(left, dict):
        found = [f"{path}.{key}: {_short(left[key])}, absent" for key in left if key not in right]
        found += [f"{path}.{key}: absent, {_short(right[key])}" for key in right if key not in left]
        for key in left:
            if key in right:
                found += differences(left[key], right[key], f"{path}.{key}")
        if not found and list(left) != list(right):
            found.append(f"{path or '.'}: members in the order {list(left)}, {list(right)}")
        return found
    if isinstance(left, list):
        found = []
        if len(left) != len(right):
            found.append(f"{path or '.'}: {len(left)} items, {len(right)} items")
        for index, (one, other) in enumerate(zip(left, right, strict=False)):
            found += differences(one, other, f"{path}[{index}]")
        return found
    return [] if left == right else [f"{path or '.'}: {_short(left)}, {_short(right)}"]


def _short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:150]}… ({len(text)} characters)"


# -- masks --------------------------------------------------------------------------------------------------------


def matches(pattern, path):
    """Whether a pattern of `ignore.json` names this path."""
    words = pattern.split(".")

    def step(i, j):
        if i == len(words):
            return j == len(path)
        if words[i] == "**":
            return any(step(i + 1, k) for k in range(j, len(path) + 1))
        return j < len(path) and words[i] in ("*", str(path[j])) and step(i + 1, j + 1)

    return step(0, 0)


class Mask:
    """Puts stand-ins for what differs between any two calls: ids by order of appearance, so that two that were
    equal in a reply must be equal in the other; times by their being a plausible time."""

    def __init__(self):
        self.ids = {}

    def __call__(self, text):
        """The JSON text with masked values replaced; text that is not JSON as it is."""
        try:
            found = spans(text)
        except ValueError:
            return text
        pieces = []
        for span in found:
            rule = next((rule for rule in IGNORE["values"] if matches(rule["path"], span.path)), None)
            value = text[span.start : span.end]
            if rule and value != b"null":
                pieces.append((span.start, span.end, self._stand_in(rule["as"], value)))
        return replace(text, pieces)

    def _stand_in(self, kind, value):
        if kind == "id" and value.startswith(b'"') and len(value) > 2:
            return b'"<id %d>"' % self.ids.setdefault(value, len(self.ids) + 1)
        if kind == "time" and value.isdigit() and int(value) > 1_700_000_000:
            return b'"<time>"'
        return value


# -- the same call, both sides of the gateway ---------------------------------------------------------------------


def against_engine(client_reply, engine_reply):
    """Where the client's bytes are not the engine's, beyond what was declared."""
    declared = changes(client_reply)
    found = [f"undocumented change {name!r}" for name in sorted(declared - IGNORE["changes"].keys())]
    if client_reply.status != engine_reply.status:
        found.append(f"status: engine {engine_reply.status}, client {client_reply.status}")
    if client_reply.header("content-type") != engine_reply.header("content-type"):
        kinds = (engine_reply.header("content-type"), client_reply.header("content-type"))
        found.append("content-type: engine {}, client {}".format(*kinds))
    if engine_reply.is_stream:
        return found + _events_against_engine(client_reply, engine_reply, declared)
    body = client_reply.body
    if "response.provider" in declared:
        body, there = without_member(body, "provider")
        if not there:
            found.append("response.provider is declared, but the reply has no such member")
    return found + same_bytes(engine_reply.body, body)


def _events_against_engine(client_reply, engine_reply, declared):
    sent, got = engine_reply.events(), [one for one in client_reply.events() if not one.is_comment]
    hidden = []
    if "request.stream_options" in declared:
        hidden = [one for one in sent if is_usage_chunk(one)]
        sent = [one for one in sent if not is_usage_chunk(one)]
        if len(hidden) != 1:
            hidden_as = f"request.stream_options is declared, but the engine sent {len(hidden)} usage chunks"
            return [hidden_as]
    got = without_added_end(sent, got)
    found = []
    if len(sent) != len(got):
        found.append(f"the engine sent {len(sent)} events, the client got {len(got)}")
    for index, (one, other) in enumerate(zip(sent, got, strict=False)):
        if one.raw != other.raw:
            found.append(f"event {index}: engine {one.raw!r}, client {other.raw!r}")
    untouched = not hidden and len(got) == len(client_reply.events())
    if not found and untouched and client_reply.body != engine_reply.body:
        found.append("the same events, but other bytes between them")
    return found[:5]


def without_added_end(sent, got):
    """The client's events without a `[DONE]` that the engine did not send: `ignore.json` says where it may be added."""
    kinds = IGNORE["added_end"]["after"]
    if len(got) > 1 and sent and sent[-1].name in kinds and got[-2].name == sent[-1].name:
        return got[:-1] if got[-1].raw == b"data: [DONE]" else got
    return got


def is_usage_chunk(event):
    """The extra chunk of `include_usage`: usage and no choices."""
    if not event.data or not event.data.startswith(b"{"):
        return False
    data = json.loads(event.data)
    return data.get("choices") == [] and isinstance(data.get("usage"), dict)


def same_bytes(left, right):
    """Empty when equal; else what differs as JSON, or from which byte on."""
    if left == right:
        return []
    try:
        found = differences(json.loads(left), json.loads(right))
    except ValueError:
        found = []
    if found:
        return found[:8]
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return [f"bytes differ from {at} on: {left[at - 20 : at + 40]!r}, {right[at - 20 : at + 40]!r}"]


# -- two calls ----------------------------------------------------------------------------------------------------


def against_direct(direct, through, passthrough=False):
    """Where a reply through the gateway differs from one got directly. Streams that differ only in how the engine
    batched its tokens are reported as equal: those bytes are what `against_engine` compares."""
    declared = changes(through)
    found = headers(direct, through, passthrough)
    if direct.status != through.status:
        found.append(f"status: direct {direct.status}, through {through.status}")
    if direct.is_stream:
        return found + _events_against_direct(direct, through, declared)
    body = through.body
    if "response.provider" in declared:
        body, _ = without_member(body, "provider")
    left, right = Mask()(direct.body), Mask()(body)
    return found + same_bytes(left, rounded_alike(left, right))


def rounded_alike(left, right):
    """The right text with those floats spelled as on the left that differ in their last digits alone: an engine's
    sums depend on what else is in its batch."""
    tolerance = IGNORE["rounding"]["relative"]
    try:
        theirs = {span.path: left[span.start : span.end] for span in spans(left)}
        ours = spans(right)
    except ValueError:
        return right
    pieces = []
    for span in ours:
        one, other = theirs.get(span.path, b""), right[span.start : span.end]
        both = one != other and _FLOAT.fullmatch(one) and _FLOAT.fullmatch(other)
        if both and math.isclose(float(one), float(other), rel_tol=tolerance, abs_tol=tolerance):
            pieces.append((span.start, span.end, one))
    return replace(right, pieces)


def headers(direct, through, passthrough=False):
    """Headers that came from nowhere, or were lost, or changed. A passthrough may hand on what others leave out."""
    rules = IGNORE["headers"]
    ours, theirs = dict(through.headers), dict(direct.headers)
    found = [f"header {name}: lost" for name in theirs if name not in ours and name not in rules["engine_only"]]
    for name, value in ours.items():
        if name in rules["gateway_only"]:
            continue
        if name not in theirs:
            found.append(f"header {name}: {value!r} came from nowhere")
        elif name in rules["engine_only"] and not passthrough:
            found.append(f"header {name}: {value!r} should have been left out")
        elif theirs[name] != value:
            found.append(f"header {name}: direct {theirs[name]!r}, through {value!r}")
    return found


def _events_against_direct(direct, through, declared):
    sent, got = direct.events(), [one for one in through.events() if not one.is_comment]
    left, right = _masked(sent), _masked(without_added_end(sent, got))
    if "request.stream_options" not in declared and left == right:
        return []
    consequences = [rule for rule in IGNORE["consequences"] if rule["change"] in declared]
    found = differences(_told(left, consequences), _told(right, consequences), "events")
    return found[:8]


def _masked(events):
    mask = Mask()
    return [(one.name, mask(one.data or b"")) for one in events]


TEXTS = [
    "choices.*.delta.content",
    "choices.*.delta.reasoning",
    "choices.*.delta.tool_calls.*.function.arguments",
    "choices.*.text",
    "delta",
    "delta.text",
    "delta.thinking",
    "delta.partial_json",
]
"""Members that grow with each event of a stream."""
LISTS = [
    "choices.*.logprobs.content",
    "choices.*.logprobs.tokens",
    "choices.*.logprobs.token_logprobs",
    "choices.*.logprobs.top_logprobs",
    "choices.*.logprobs.text_offset",
    "logprobs",
]
"""Lists that do."""
COUNTERS = ["sequence_number"]
"""Members that count events, and so depend on the batching."""


def _told(events, consequences):
    """What a stream says, however it is cut into events: neighbours that only continue one another are joined."""
    told = []
    decoded = []
    for name, data in events:
        try:
            value = json.loads(data)
        except ValueError:
            value = data.decode("utf-8", "replace")
        decoded.append({"event": name, "data": value})
    # Choices run side by side and their order is the scheduler's: each is told by itself.
    decoded.sort(key=lambda one: choice_of(one["data"]))
    for one in decoded:
        if isinstance(one["data"], dict):
            for rule in consequences:
                at = rule["event_path"]
                if at in one["data"] and ("only" not in rule or one["data"][at] == rule["only"]):
                    del one["data"][at]
            for counter in COUNTERS:
                one["data"].pop(counter, None)
            put_calls_together(one["data"])
        joined = _join(told[-1], one) if told else None
        if joined is None:
            told.append(one)
        else:
            told[-1] = joined
    return told


def put_calls_together(data):
    """Pieces of one tool call that stand in one chunk become one piece: a busy engine sends name and arguments so."""
    for choice in data.get("choices") or []:
        delta = choice.get("delta") or {}
        together = {}
        for piece in delta.get("tool_calls") or []:
            call = together.setdefault(piece.get("index"), {})
            function = call.get("function", {}) | piece.get("function", {})
            if "arguments" in call.get("function", {}):
                function["arguments"] = call["function"]["arguments"] + piece.get("function", {}).get("arguments", "")
            call.update(piece)
            if function:
                call["function"] = function
        if together:
            delta["tool_calls"] = list(together.values())


def choice_of(data):
    """Which choice a chunk belongs to."""
    if isinstance(data, dict) and isinstance(data.get("choices"), list) and data["choices"]:
        return data["choices"][0].get("index", 0)
    return 1_000_000  # usage and the end come behind all choices


def _join(first, second):
    """Both events as one, or None when the second does not merely continue the first."""
    if first["event"] != second["event"] or not isinstance(first["data"], dict):
        return None
    grew = []

    def walk(a, b, path):
        if any(matches(pattern, path) for pattern in TEXTS) and isinstance(a, str) and isinstance(b, str):
            grew.append(path)
            return a + b
        if any(matches(pattern, path) for pattern in LISTS) and isinstance(a, list) and isinstance(b, list):
            return a + b
        # A delta names only what is new in it: what was said before stands.
        delta = path[:1] == ("choices",) and path[2:3] == ("delta",)
        if isinstance(a, dict) and isinstance(b, dict):
            if not delta and a.keys() - b.keys():
                raise ValueError
            if delta:
                grew.append(path)
            both = {key: walk(a[key], b[key], (*path, key)) if key in b else a[key] for key in a}
            return both | {key: b[key] for key in b if key not in a}
        if delta and b is None:
            return a
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            return [walk(x, y, (*path, index)) for index, (x, y) in enumerate(zip(a, b, strict=True))]
        # Usage in every chunk is a running total: the later one says it all.
        if a is None or (type(a) is type(b) and a == b) or path[:1] == ("usage",):
            return b
        raise ValueError

    if not isinstance(second["data"], dict):
        return None
    try:
        data = walk(first["data"], second["data"], ())
    except ValueError:
        return None
    return {"event": first["event"], "data": data} if grew else None


# -- errors -------------------------------------------------------------------------------------------------------

OPENAI_TYPES = {401: "authentication_error", 403: "authentication_error", 404: "not_found_error"}
OPENAI_TYPES |= {429: "rate_limit_error"}
ANTHROPIC_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
ANTHROPIC_TYPES |= {400: "invalid_request_error", 413: "request_too_large", 429: "rate_limit_error"}
ANTHROPIC_TYPES |= {503: "overloaded_error", 529: "overloaded_error"}


def envelope(engine_reply, anthropic, request_id):
    """What the client must be told when the engine refuses: the same status and words in the dialect's own shape."""
    status = engine_reply.status
    try:
        told = engine_reply.json()
    except ValueError:
        told = {}
    error = told.get("error", told) if isinstance(told, dict) else {}
    if isinstance(error, str):
        error = {"message": error}
    message = error.get("message") or error.get("detail") or engine_reply.body.decode("utf-8", "replace")
    if anthropic:
        kind = ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "provider_error")
    code = error.get("code")
    return {
        "error": {
            "type": kind,
            "message": message,
            "param": error.get("param"),
            "code": None if code is None else str(code),
        }
    }
