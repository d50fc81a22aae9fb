#!/usr/bin/env python3
"""Compares Ferrovia with the engines behind it, call by call and byte by byte.

    tests/engines/suite.py                      against real vLLM (tests/engines/setup.sh once)
    tests/engines/suite.py --engine simulator   against the simulated engine, in seconds
    tests/engines/suite.py -k messages          only what has this in its name

Each call of `cases.py` is made twice, directly and through Ferrovia. Between Ferrovia and the engine stands a tee,
so each reply is held against two others: the engine's in the same call, which it must equal byte for byte, and the
direct one, from which it may differ only by what `ignore.json` lists. What differs otherwise fails.
"""

import argparse
import contextlib
import itertools
import select
import sys
import time

import cases
import differ
from spans import without_member
from stack import Gateway, add_engine_option, engines_for, public_ids, settings_for
from tee import Tee
from wire import Event, split_events, wait_until

MASTER = "sk-master-of-the-suite"


class Tally:
    """Counts what passed and failed, and says so as it happens."""

    def __init__(self, only=None):
        self.only, self.passed, self.failed, self.selected = only, 0, [], 0

    def wants(self, name):
        return not self.only or self.only in name

    def run(self, name, check, *arguments):
        """Runs one check, which returns its complaints, or raises, or is content."""
        if not self.wants(name):
            return
        try:
            complaints = check(*arguments) or []
        except Exception as fault:  # noqa: BLE001 -- one broken check must not hide the others
            complaints = [f"{type(fault).__name__}: {fault}"]
        if complaints:
            self.failed.append(name)
            print(f"FAIL  {name}", *complaints, sep="\n      ", flush=True)
        else:
            self.passed += 1
            print(f"ok    {name}", flush=True)

    def end(self, what):
        for name in self.failed:
            print(f"failed: {name}")
        print(f"{what}: {self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Bench:
    """Engines, a tee before each, and a Ferrovia before all of them."""

    ids = itertools.count(1)

    def __init__(self, engines, stack, missing=None, key=MASTER, settings=None):
        self.engines = engines
        self.adds_provider = (settings or {}).get("FERROVIA_PROVIDER_MEMBER") != "false"
        self.tees = {one.instance: stack.enter_context(Tee(one.url)) for one in engines}
        for instance, paths in (missing or {}).items():
            self.tees[instance].missing |= paths
        urls = {instance: tee.url for instance, tee in self.tees.items()}
        self.gateway = stack.enter_context(Gateway(settings_for(engines, urls) | (settings or {}), key))
        self.gateway.wait_for_models(public_ids(engines))

    @property
    def server(self):
        return self.gateway.server

    def new_id(self):
        return f"suite-{next(self.ids)}-{time.monotonic_ns():x}"


# -- every front, compared ----------------------------------------------------------------------------------------


BATCHINGS = 4
"""How often two calls may be made before their difference counts: an engine under load puts what it has waiting into
one event, so that two streams of the same words may be cut, and put together, differently."""


def compare(bench, engine, case):
    """What is wrong with a call through Ferrovia, held against the engine's reply in the same call and against the
    direct one. Only the latter may be tried again: what reaches the client of one call must be right at once."""
    plain = case.written(engine.model)
    engine.server.call(case.method, case.path, plain, case.headers)  # fills caches, so that the next two are equal
    for _ in range(BATCHINGS):
        wrong, unlike = compare_once(bench, engine, case, plain)
        if wrong or not unlike:
            break
    return wrong + unlike


def compare_once(bench, engine, case, plain):
    """What is wrong in any case, and where two calls differ."""
    tee, call_id = bench.tees[engine.instance], bench.new_id()
    target = case.through or case.path
    told = plain if case.passthrough else case.written(f"{engine.instance}/{engine.model}")
    if case.passthrough:
        target = f"/p/{engine.instance}{case.path}"

    direct = engine.server.call(case.method, case.path, plain, case.headers)
    if case.shows not in direct.body:
        return [], [f"the engine's own reply does not show {case.shows!r}: {direct.body[:400]!r}"]
    if direct.status != (case.refused or 200) and not case.passthrough:
        return [f"the engine answered {direct.status}: {direct.body[:400]!r}"], []
    through = bench.server.call(case.method, target, told, case.headers | {"x-request-id": call_id})
    exchanges = tee.finished(call_id)

    found = [] if len(exchanges) == 1 else [f"{len(exchanges)} upstream requests instead of one"]
    upstream = exchanges[-1]
    declared = differ.changes(through)
    expected = cases.expected_changes(case, direct.status >= 400)
    if not bench.adds_provider:
        expected -= {"response.provider"}
    found += sent_upstream(case, engine, plain, upstream.request, upstream.request_bytes, expected)
    # A refusal is not the engine's body any more, and need not tell what was changed on the way to it.
    if declared != expected and not (direct.status >= 400 and declared <= expected):
        found.append(f"declares {sorted(declared)}, expected {sorted(expected)}")
    found += repeated_headers(through)
    if direct.status >= 400 and not case.passthrough:
        return found + refusal(case, direct, upstream.reply, through), []
    found += [f"engine, client: {one}" for one in differ.against_engine(through, upstream.reply)]
    return found, [f"direct, through: {one}" for one in differ.against_direct(direct, through, case.passthrough)]


def sent_upstream(case, engine, plain, request, raw, expected):
    """What is wrong with the request that Ferrovia made of the client's."""
    found = []
    allowed = {case.path, case.path.replace("/v1/", "/", 1)} if case.passthrough else {case.path}
    if request.method != case.method or request.target not in allowed:
        found.append(f"upstream request: {request.start!r}, expected {case.method} {' or '.join(sorted(allowed))}")
    body, wanted = request.body, plain or b""
    if "request.stream_options" in expected:
        asked = request.json().get("stream_options") or {}
        if asked.get("include_usage") is not True:
            found.append(f"request.stream_options is declared, but upstream got {asked}")
        body, _ = without_member(body, "stream_options")
        wanted, _ = without_member(wanted, "stream_options")
    found += [f"upstream body: {one}" for one in differ.same_bytes(wanted, body)]
    credential = f"Bearer {engine.key}" if engine.key else None
    if request.header("authorization") != credential:
        found.append(f"upstream got authorization {request.header('authorization')!r}, not the instance's own")
    if MASTER.encode() in raw:
        found.append("the master key went upstream")
    if not case.passthrough:
        known = differ.IGNORE["upstream_headers"]
        found += [f"upstream got header {name}: {value!r}" for name, value in request.headers if name not in known]
    return found


def repeated_headers(reply):
    names = [name for name, _ in reply.headers if name not in ("set-cookie", "vary")]
    return [f"header {name} stands there twice" for name in {one for one in names if names.count(one) > 1}]


def refusal(case, direct, upstream, through):
    """A refusal must reach the client with the engine's status and words, in the shape of the client's dialect."""
    found = differ.headers(direct, through)
    if through.status != direct.status:
        found.append(f"status: direct {direct.status}, through {through.status}")
    if through.header("content-type") != "application/json":
        found.append(f"content-type: {through.header('content-type')}")
    got, call_id = through.json(), through.header("x-request-id")
    for name, reply in (("in the same call", upstream), ("directly", direct)):
        wanted = differ.envelope(reply, case.anthropic, call_id)
        found += [f"refused {name}: {one}" for one in differ.differences(sorted_members(wanted), sorted_members(got))]
    return found


def sorted_members(value):
    """The order of members in an envelope is ours to choose."""
    if isinstance(value, dict):
        return {key: sorted_members(value[key]) for key in sorted(value)}
    return value


# -- what Ferrovia answers by itself ------------------------------------------------------------------------------


def own_answer(bench, case):
    call_id = bench.new_id()
    server = bench.gateway.server
    key = MASTER if case.key == "master" else case.key
    headers = {"x-request-id": call_id, "authorization": f"Bearer {key}" if key else None, **case.headers}
    reply = server.call(case.method, case.path, case.body, headers)
    if reply.status != case.status:
        return [f"status {reply.status} instead of {case.status}: {reply.body[:300]!r}"]
    found = []
    told = reply.json()
    error = told.get("error", {})
    members = {"type", "message"} if case.anthropic else {"type", "message", "param", "code"}
    if set(error) != members or (case.anthropic and told.get("type") != "error"):
        found.append(f"not the dialect's error shape: {told}")
    if case.type and error.get("type") != case.type:
        found.append(f"type {error.get('type')!r} instead of {case.type!r}")
    if case.code and not case.anthropic and error.get("code") != case.code:
        found.append(f"code {error.get('code')!r} instead of {case.code!r}")
    message = str(error.get("message", ""))
    found += [f"{word!r} is not in the message: {message}" for word in case.says if word.lower() not in message.lower()]
    if any(secret in reply.body for secret in (MASTER.encode(), b"sk-upstream", b"sk-wrong", b"sk-embed")):
        found.append(f"the reply holds a key: {reply.body[:300]!r}")
    if reply.header("x-request-id") != call_id:
        found.append(f"x-request-id {reply.header('x-request-id')!r} instead of {call_id!r}")
    sent = [one.request.start for tee in bench.tees.values() for one in tee.of(call_id)]
    # A route that turns out to be missing may have been asked for once: that is how it turns out.
    if sent and case.status != 501:
        found.append(f"went upstream all the same: {sent}")
    return found


# -- models, keys, headers ----------------------------------------------------------------------------------------


def models(bench):
    listed = bench.server.call("GET", "/v1/models").json()
    by_id = {one["id"]: one for one in listed["data"]}
    found = [] if listed["object"] == "list" else [f"object is {listed['object']!r}"]
    if list(by_id) != sorted(by_id):
        found.append(f"not sorted: {list(by_id)}")
    for engine in bench.engines:
        for theirs in engine.server.call("GET", "/v1/models").json()["data"]:
            public = f"{engine.instance}/{theirs['id']}"
            ours = by_id.get(public)
            if ours is None:
                found.append(f"{public} is not listed")
                continue
            for member in ("object", "root", "parent", "max_model_len"):
                if ours.get(member) != theirs[member]:
                    found.append(f"{public}.{member}: engine {theirs[member]!r}, listed {ours.get(member)!r}")
            if ours.get("context_length") != theirs["max_model_len"]:
                found.append(f"{public}.context_length: {ours.get('context_length')!r}")
            if ours.get("owned_by") != engine.instance:
                found.append(f"{public}.owned_by: {ours.get('owned_by')!r}")
            for spelled in (public, public.replace("/", "%2F")):
                one = bench.server.call("GET", f"/v1/models/{spelled}")
                if one.status != 200 or one.json() != ours:
                    found.append(f"/v1/models/{spelled}: {one.status} {one.body[:200]!r}, listed {ours}")
    return found


def keys(bench):
    """The master key in each of its three places opens the door."""
    found = []
    body = cases.asks(public_ids(bench.engines)[0])
    for headers in ({"authorization": f"Bearer {MASTER}"}, {"x-api-key": MASTER}, {"api-key": MASTER}):
        call_id = bench.new_id()
        given = {"authorization": None, "x-request-id": call_id} | headers
        reply = bench.server.call("POST", cases.CHAT, body, given)
        if reply.status != 200:
            found.append(f"{next(iter(headers))}: {reply.status} {reply.body[:200]!r}")
        for tee in bench.tees.values():
            found += [
                f"{headers}: the key went upstream" for one in tee.of(call_id) if MASTER.encode() in one.request_bytes
            ]
    return found


CLIENT_HEADERS = {
    "openai-organization": "org-1",
    "openai-beta": "x=v1",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "b-1",
    "idempotency-key": "i-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "cookie": "session=secret",
    "x-forwarded-for": "203.0.113.9",
    "x-stainless-lang": "python",
    "x-api-key": MASTER,
    "accept-encoding": "gzip, br",
}
PASS = ["openai-organization", "openai-beta", "anthropic-version", "anthropic-beta", "idempotency-key"]


def client_headers(bench):
    """Of a client's headers only those of the list go upstream, and no reply is asked for compressed."""
    engine, call_id = bench.engines[0], bench.new_id()
    body = cases.asks(f"{engine.instance}/{engine.model}")
    bench.server.call("POST", cases.CHAT, body, CLIENT_HEADERS | {"x-request-id": call_id})
    request = bench.tees[engine.instance].finished(call_id)[0].request
    found = [f"{name} got lost" for name in PASS if request.header(name) != CLIENT_HEADERS[name]]
    known = differ.IGNORE["upstream_headers"]
    found += [f"{name} went upstream" for name, _ in request.headers if name not in known]
    if request.header("accept-encoding") not in (None, "identity"):
        found.append(f"accept-encoding is {request.header('accept-encoding')!r}")
    trace = (request.header("traceparent") or "").split("-")
    if len(trace) != 4 or trace[1] != CLIENT_HEADERS["traceparent"].split("-")[1]:
        found.append(f"traceparent {trace} left the client's trace")
    return found


def bare_names(bench):
    """A model that one instance alone has needs no prefix; one that two have is found by its prefix."""
    found = []
    names = [one.model for one in bench.engines]
    for engine in bench.engines:
        if names.count(engine.model) > 1 or engine.serves != "embed":
            continue
        reply = bench.server.call("POST", "/v1/embeddings", {"model": engine.model, "input": "x"})
        if reply.status != 200:
            found.append(f"{engine.model}: {reply.status} {reply.body[:200]!r}")
    return found


# -- rerank on engines that lack routes ---------------------------------------------------------------------------

DOCUMENTS = ["the night train", "hello", "a tram at noon", "hello there"]
RERANK_SHAPES = {
    "vLLM": {"documents": DOCUMENTS, "top_n": 3},
    "Bifrost": {
        "documents": [{"text": one} for one in DOCUMENTS],
        "params": {"return_documents": True, "top_n": 3},
    },
    "Cohere": {"documents": DOCUMENTS, "top_n": 3, "max_tokens_per_doc": 256},
    "Jina": {"documents": [{"text": one} for one in DOCUMENTS], "top_n": 3, "return_documents": False},
}
RERANK_ROUTES = ["/v1/rerank", "/rerank", "/v2/rerank", "/score"]


def rerank_without(engine, lacking, hidden):
    """Every shape of rerank request, at an engine that lacks the first `lacking` routes; with `hidden`, one that does
    not list its routes either, so that each must be found missing by asking."""
    missing = set(RERANK_ROUTES[:lacking]) | ({"/openapi.json"} if hidden else set())
    found = []
    with contextlib.ExitStack() as stack:
        bench = Bench([engine], stack, {engine.instance: missing})
        tee = bench.tees[engine.instance]
        wanted = engine.server.call(
            "POST", "/rerank", {"model": engine.model, "query": "hello", "documents": DOCUMENTS, "top_n": 3}
        ).json()["results"]
        for shape, more in RERANK_SHAPES.items():
            call_id = bench.new_id()
            body = {"model": f"{engine.instance}/{engine.model}", "query": "hello"} | more
            reply = bench.server.call("POST", "/v1/rerank", body, {"x-request-id": call_id})
            if reply.status != 200:
                found.append(f"{shape}: {reply.status} {reply.body[:300]!r}")
                continue
            results = reply.json()["results"]
            if [one["index"] for one in results] != [one["index"] for one in wanted]:
                found.append(f"{shape}: order {[one['index'] for one in results]}, engine {wanted}")
            for ours, theirs in zip(results, wanted, strict=False):
                if abs(ours["relevance_score"] - theirs["relevance_score"]) > 1e-6:
                    found.append(f"{shape}: score {ours}, engine {theirs}")
            # Plain strings are vLLM's own shape, whoever else has it too, and vLLM's own answer has the documents.
            relayed = shape in ("vLLM", "Cohere") and lacking < 2
            asked = shape == "Bifrost" or relayed
            documents = [(one.get("document") or {}).get("text") for one in results]
            texts = [DOCUMENTS[one["index"]] for one in results]
            if documents != (texts if asked else [None] * len(results)):
                found.append(f"{shape}: documents {documents}")
            routes = [one.request.target for one in tee.finished(call_id)]
            if shape != "vLLM" and len(routes) != 1:
                found.append(f"{shape}: the route that worked was not remembered: {routes}")
            if not routes[-1].endswith(RERANK_ROUTES[lacking].removeprefix("/v1").removeprefix("/v2")):
                found.append(f"{shape}: answered by {routes[-1]}")
    return found


# -- streams arrive as they are made, and end when the client leaves ----------------------------------------------


def first_event(reader):
    """Reads until a whole event is there."""
    reply = reader.head()
    for _ in reader.pieces(reply):
        if b"\n\n" in reply.body:
            break
    return reply, (split_events(reply.body) or [Event(b"", None, None)])[0]


def arrives_at_once(bench, engine):
    """The first event is with the client while the engine is still far from the last."""
    call_id = bench.new_id()
    body = endless(engine, cases.CHAT, 4000)
    with bench.server.open("POST", cases.CHAT, body, {"x-request-id": call_id}) as reader:
        _, event = first_event(reader)
        exchange = bench.tees[engine.instance].of(call_id)[-1]
        if exchange.over:
            return [f"the engine had finished before the first event came: {event.raw[:200]!r}"]
    return []


def endless(engine, path, tokens=100_000, stream=True):
    """A call that would go on for minutes."""
    base = {"model": f"{engine.instance}/{engine.model}", "stream": stream, "temperature": 0}
    more = {"ignore_eos": True, "max_tokens": tokens}
    if path.endswith("/chat/completions"):
        return base | more | {"messages": cases.HELLO}
    if path.endswith("/completions"):
        return base | more | {"prompt": "Hello"}
    if path.endswith("/responses"):
        return base | {"input": "Hello", "max_output_tokens": tokens, "ignore_eos": True}
    # The Messages API cannot be told to ignore the end of a turn, but a schema can demand a very long text.
    schema = {"type": "string", "minLength": tokens}
    wordy = {"format": {"type": "json_schema", "schema": schema}}
    return base | {"messages": cases.HELLO, "max_tokens": tokens, "output_config": wordy}


def running(engine):
    """What the engine is working on, by its own count."""
    text = engine.server.call("GET", "/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running")]
    if not lines:
        raise RuntimeError("the engine's /metrics has no vllm:num_requests_running")
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


LEAVE_WITHIN = 5.0
"""Seconds in which an engine's own count must be back to nothing."""


def leaving(bench, engine, path, *how):
    """The client hangs up; the engine must stop working, and Ferrovia must go on serving. A machine that is busy with
    other things may miss the limit once; an engine that works on for nobody misses it every time."""
    for attempt in range(3):
        try:
            return leave(bench, engine, path, *how)
        except TimeoutError as late:
            if attempt == 2:
                raise
            print(f"      once more: {late}", flush=True)
    return None


def leave(bench, engine, path, stream=True, after_first_event=True, body=None):
    wait_until(lambda: running(engine) == 0, 30, "an idle engine before the test")
    body = body or endless(engine, path, stream=stream)
    target = path.replace("/p/vllm/", f"/p/{engine.instance}/")
    with bench.server.open("POST", target, body) as reader:
        if after_first_event:
            reply, event = first_event(reader)
            if reply.status != 200 or event.data is None:
                return [f"no stream to leave: {reply.status} {reply.body[:300]!r}"]
        wait_until(lambda: running(engine) == 1, 20, "the engine at work")
        if not after_first_event and reader.sock in readable(reader.sock):
            reply = reader.head()
            return [f"answered before the client could leave: {reply and reply.start} {reader.buffer[:300]!r}"]
    left = time.monotonic()
    wait_until(lambda: running(engine) == 0, LEAVE_WITHIN, "an idle engine after the client left")
    took = time.monotonic() - left
    alive = bench.server.call("GET", "/health")
    print(f"      idle {took:.2f} s after the client left", flush=True)
    return [] if alive.status == 200 else [f"/health answers {alive.status} afterwards"]


def readable(sock):
    return select.select([sock], [], [], 0)[0]


def long_prompt(engine, tokens=100_000):
    """A stream whose first event is long in coming: a prompt that takes the engine many steps to read."""
    return {
        "model": f"{engine.instance}/{engine.model}",
        "prompt": [40 + i % 200 for i in range(tokens)],
        "max_tokens": 20,
        "stream": True,
    }


# -- all of it ----------------------------------------------------------------------------------------------------


def provider_chooses(bench):
    """A member `provider` does what the prefix does, and stays here."""
    found = []
    for engine in by_instance(bench.engines, "chat"):
        call_id = bench.new_id()
        body = {"provider": engine.instance, "model": engine.model, "messages": cases.HELLO, "max_tokens": 5}
        reply = bench.server.call("POST", cases.CHAT, body, {"x-request-id": call_id})
        if reply.status != 200:
            found.append(f"{engine.instance}: {reply.status} {reply.body[:200]!r}")
            continue
        asked = {name: len(tee.of(call_id)) for name, tee in bench.tees.items() if tee.of(call_id)}
        if asked != {engine.instance: 1}:
            found.append(f"{engine.instance}: asked {asked}")
        elif "provider" in bench.tees[engine.instance].of(call_id)[0].request.json():
            found.append(f"{engine.instance}: the member went upstream")
        if "request.provider" not in differ.changes(reply):
            found.append(f"{engine.instance}: declares {sorted(differ.changes(reply))}")
    return found


def by_instance(engines, serves):
    return [one for one in engines if one.serves == serves]


def run(tally, engines, engine_kind):
    with contextlib.ExitStack() as stack:
        bench = Bench(engines, stack)
        for case in cases.CASES:
            for engine in by_instance(engines, case.serves):
                tally.run(f"{engine.instance}: {case.name}", compare, bench, engine, case)
        for own in cases.OWN:
            tally.run(f"own answer: {own.name}", own_answer, bench, own)
        for name, check in [
            ("models", models),
            ("keys", keys),
            ("client headers", client_headers),
            ("bare names", bare_names),
            ("a member chooses the instance", provider_chooses),
        ]:
            tally.run(name, check, bench)
        for engine in by_instance(engines, "chat"):
            tally.run(f"{engine.instance}: a stream arrives as it is made", arrives_at_once, bench, engine)
        first = by_instance(engines, "chat")[0]
        for path in (
            cases.CHAT,
            cases.COMPLETIONS,
            cases.RESPONSES,
            cases.MESSAGES,
            "/p/vllm/v1/chat/completions",
        ):
            name = f"leaving {path} in mid-stream"
            body = None
            if path.startswith("/p/"):
                body = endless(first, path) | {"model": first.model}
            tally.run(name, leaving, bench, first, path, True, True, body)
        tally.run("leaving a call that does not stream", leaving, bench, first, cases.CHAT, False, False)
        if engine_kind == "real":
            body = long_prompt(first)
            name = "leaving before the first event"
            tally.run(name, leaving, bench, first, cases.COMPLETIONS, True, False, body)
    for engine in by_instance(engines, "rerank"):
        for lacking, hidden in itertools.product(range(len(RERANK_ROUTES)), (False, True)):
            spelled = ", ".join(RERANK_ROUTES[:lacking]) or "nothing"
            name = f"rerank on an engine without {spelled}{', which hides its routes' if hidden else ''}"
            tally.run(name, rerank_without, engine, lacking, hidden)
    with contextlib.ExitStack() as stack:
        bench = Bench(engines, stack, settings={"FERROVIA_PROVIDER_MEMBER": "false"})
        for case in (one for one in cases.CASES if "response.provider" in cases.expected_changes(one, False)):
            for engine in by_instance(engines, case.serves):
                if not case.refused:
                    tally.run(
                        f"without the provider member, {engine.instance}: {case.name}", compare, bench, engine, case
                    )
    with contextlib.ExitStack() as stack:
        bench = Bench(engines, stack, key=None)
        for case in (cases.CASES[0], cases.CASES[2]):
            for engine in by_instance(engines, case.serves):
                tally.run(f"open mode, {engine.instance}: {case.name}", compare, bench, engine, case)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_engine_option(parser)
    parser.add_argument("-k", metavar="TEXT", help="only checks with this text in their name")
    asked = parser.parse_args()
    tally = Tally(asked.k)
    with engines_for(asked.engine) as engines:
        run(tally, engines, asked.engine)
    return tally.end(f"engine suite on {asked.engine} engines")


if __name__ == "__main__":
    sys.exit(main())
