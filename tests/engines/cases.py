"""The calls that the engine suite makes: every front that the engines serve, and what must go wrong.

`$MODEL` in a body stands for the model: the engine's own name when the engine is asked directly and on the
passthrough, the public name (`vllm/tiny-chat`) when Ferrovia is asked.
"""

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A call made twice, directly and through Ferrovia, and compared."""

    name: str
    serves: str
    path: str
    body: object
    shows: bytes = b""
    """What the engine's reply must contain, so that a case cannot pass by showing nothing."""
    through: str | None = None
    """Ferrovia's path where it is not the engine's."""
    method: str = "POST"
    headers: dict = field(default_factory=dict)
    refused: int | None = None
    """The status with which the engine refuses this; the client gets it in its dialect's envelope."""
    passthrough: bool = False
    changes: frozenset | None = None
    """What Ferrovia must declare, where that is not what `expected_changes` derives."""

    @property
    def anthropic(self):
        return self.path.startswith("/v1/messages")

    def written(self, model):
        """The body as bytes, with this model in it."""
        if self.body is None:
            return None
        body = self.body
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        return body.replace(b"$MODEL", model.encode())


MODEL = "$MODEL"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = [{"role": "user", "content": "What is the weather in Turin?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = CITY | {"additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": CITY}}
STRICT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA, "strict": True}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": CITY}
MESSAGES_TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": CITY}
STRICT_MESSAGES_TOOL = {"name": "get_weather", "input_schema": SCHEMA, "strict": True}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
TOOL_TALK = [
    *WEATHER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city":"Turin"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]


def chat(**more):
    return {"model": MODEL, "messages": HELLO, "temperature": 0, "seed": 7, "max_tokens": 60} | more


def completion(**more):
    return {"model": MODEL, "prompt": "The train", "temperature": 0, "seed": 7, "max_tokens": 24} | more


def response(**more):
    return {"model": MODEL, "input": "Hello", "temperature": 0, "max_output_tokens": 60} | more


def message(**more):
    return {"model": MODEL, "max_tokens": 60, "messages": HELLO, "temperature": 0} | more


def json_schema(name="place"):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": SCHEMA}}


USAGE = {"include_usage": True}

# Bytes as a person's editor or a strange library would write them: they must arrive as they are.
ODD_BODY = (
    b'{ "messages" : [\n\t{"role":"user" , "content":"Hello \\u00e9\\ud83d\\ude82 \xf0\x9f\x9a\x82 \\/ "} ],\r\n'
    b'  "temperature":0.0, "seed": 7,"max_tokens":1e1 , "x_unknown": {"model":"decoy","n":[1.50,1E5,-0]},\n'
    b'  "model" : "$MODEL" , "top_p":1 }\n'
)

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

CASES = [
    # -- chat completions
    Case("chat", "chat", CHAT, chat(), b'"finish_reason":"stop"'),
    Case("chat, an oddly written body", "chat", CHAT, ODD_BODY.replace(b"1e1", b"10"), b'"choices"'),
    Case("chat, stream", "chat", CHAT, chat(stream=True), b"data: [DONE]"),
    Case("chat, stream with usage", "chat", CHAT, chat(stream=True, stream_options=USAGE), b'"choices":[],"usage"'),
    Case(
        "chat, stream, usage declined",
        "chat",
        CHAT,
        chat(stream=True, stream_options={"include_usage": False}),
        b"data: [DONE]",
    ),
    Case(
        "chat, stream, usage in every chunk",
        "chat",
        CHAT,
        chat(stream=True, stream_options=USAGE | {"continuous_usage_stats": True}),
        b'"completion_tokens":3',
    ),
    Case("chat, long stream", "chat", CHAT, chat(stream=True, ignore_eos=True, max_tokens=400), b'"length"'),
    Case("chat, n=2", "chat", CHAT, chat(n=2, temperature=0.7), b'"index":1'),
    Case("chat, n=2, stream", "chat", CHAT, chat(n=2, temperature=0.7, stream=True), b'"index":1'),
    Case("chat, stop", "chat", CHAT, chat(stop=["e"]), b'"stop_reason":"e"'),
    Case("chat, length", "chat", CHAT, chat(max_tokens=3), b'"finish_reason":"length"'),
    Case("chat, logprobs", "chat", CHAT, chat(logprobs=True, top_logprobs=2), b'"top_logprobs":[{'),
    Case("chat, logprobs, stream", "chat", CHAT, chat(logprobs=True, top_logprobs=1, stream=True), b'"logprob":'),
    Case("chat, token ids", "chat", CHAT, chat(return_token_ids=True), b'"token_ids":['),
    Case("chat, tool offered and used", "chat", CHAT, chat(messages=WEATHER, tools=[TOOL]), b'"tool_calls":[{'),
    Case("chat, tool offered, not used", "chat", CHAT, chat(tools=[TOOL]), b'"finish_reason"'),
    Case(
        "chat, tool required",
        "chat",
        CHAT,
        chat(messages=WEATHER, tools=[STRICT_TOOL], tool_choice="required"),
        b'"name":"get_weather"',
    ),
    Case(
        "chat, tool named",
        "chat",
        CHAT,
        chat(messages=WEATHER, tools=[TOOL], tool_choice=NAMED),
        b'"name":"get_weather"',
    ),
    Case("chat, tool, stream", "chat", CHAT, chat(messages=WEATHER, tools=[TOOL], stream=True), b'"arguments":"'),
    Case(
        "chat, tool required, stream",
        "chat",
        CHAT,
        chat(messages=WEATHER, tools=[STRICT_TOOL], tool_choice="required", stream=True),
        b'"arguments":"',
    ),
    Case(
        "chat, tool named, stream with usage",
        "chat",
        CHAT,
        chat(messages=WEATHER, tools=[TOOL], tool_choice=NAMED, stream=True, stream_options=USAGE),
        b'"arguments":"',
    ),
    Case("chat, a tool's result", "chat", CHAT, chat(messages=TOOL_TALK, tools=[TOOL]), b'"choices"'),
    Case("chat, json_schema", "chat", CHAT, chat(response_format=json_schema()), b'{\\"city\\"'),
    Case(
        "chat, json_schema, stream",
        "chat",
        CHAT,
        chat(response_format=json_schema(), stream=True),
        b'"content":"{',
    ),
    Case(
        "chat, text parts",
        "chat",
        CHAT,
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]),
    ),
    # -- completions
    Case("completions", "chat", COMPLETIONS, completion(), b'"object":"text_completion"'),
    Case("completions, stream", "chat", COMPLETIONS, completion(stream=True), b"data: [DONE]"),
    Case(
        "completions, stream with usage",
        "chat",
        COMPLETIONS,
        completion(stream=True, stream_options=USAGE),
        b'"choices":[],"usage"',
    ),
    Case("completions, two prompts", "chat", COMPLETIONS, completion(prompt=["The train", "Hello"]), b'"index":1'),
    Case("completions, token ids", "chat", COMPLETIONS, completion(prompt=[40, 41, 42]), b'"choices"'),
    Case("completions, echo, logprobs", "chat", COMPLETIONS, completion(echo=True, logprobs=1), b'"token_logprobs"'),
    # -- responses
    Case("responses", "chat", RESPONSES, response(), b'"status":"completed"'),
    Case(
        "responses, items and instructions",
        "chat",
        RESPONSES,
        response(input=HELLO, instructions="Be brief."),
        b'"output"',
    ),
    Case("responses, stream", "chat", RESPONSES, response(stream=True), b"event: response.completed"),
    Case("responses, too short", "chat", RESPONSES, response(max_output_tokens=2), b'"incomplete"'),
    Case(
        "responses, tool",
        "chat",
        RESPONSES,
        response(input="What is the weather in Turin?", tools=[RESPONSES_TOOL]),
        b'"function_call"',
    ),
    Case(
        "responses, tool, stream",
        "chat",
        RESPONSES,
        response(input="What is the weather in Turin?", tools=[RESPONSES_TOOL], stream=True),
        b"response.function_call_arguments",
    ),
    Case(
        "responses, json_schema",
        "chat",
        RESPONSES,
        response(text={"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}}),
        b'{\\"city\\"',
    ),
    # -- messages
    Case("messages", "chat", MESSAGES, message(), b'"stop_reason":"end_turn"'),
    Case("messages, system", "chat", MESSAGES, message(system="Be brief."), b'"type":"message"'),
    Case("messages, stream", "chat", MESSAGES, message(stream=True), b"event: message_stop"),
    Case("messages, max_tokens", "chat", MESSAGES, message(max_tokens=3), b'"stop_reason":"max_tokens"'),
    Case("messages, tool", "chat", MESSAGES, message(messages=WEATHER, tools=[MESSAGES_TOOL]), b'"tool_use"'),
    Case(
        "messages, tool, stream",
        "chat",
        MESSAGES,
        message(messages=WEATHER, tools=[MESSAGES_TOOL], stream=True),
        b'"input_json_delta"',
    ),
    Case(
        "messages, tool any",
        "chat",
        MESSAGES,
        message(messages=WEATHER, tools=[STRICT_MESSAGES_TOOL], tool_choice={"type": "any"}),
        b'"tool_use"',
    ),
    Case(
        "count_tokens",
        "chat",
        "/v1/messages/count_tokens",
        {"model": MODEL, "messages": HELLO},
        b'"input_tokens":',
    ),
    # -- tokens
    Case("tokenize", "chat", "/tokenize", {"model": MODEL, "prompt": "Hello"}, b'"tokens":[', "/v1/tokenize"),
    Case("tokenize, messages", "chat", "/tokenize", {"model": MODEL, "messages": HELLO}, b'"count":', "/v1/tokenize"),
    Case("detokenize", "chat", "/detokenize", {"model": MODEL, "tokens": [40, 41]}, b'"prompt":', "/v1/detokenize"),
    # -- embeddings and their kin
    Case("embeddings", "embed", "/v1/embeddings", {"model": MODEL, "input": "Hello"}, b'"embedding":['),
    Case(
        "embeddings, several",
        "embed",
        "/v1/embeddings",
        {"model": MODEL, "input": ["Hello", "a train"]},
        b'"index":1',
    ),
    Case(
        "embeddings, base64",
        "embed",
        "/v1/embeddings",
        {"model": MODEL, "input": "Hello", "encoding_format": "base64"},
        b'"embedding":"',
    ),
    Case(
        "embeddings, token ids",
        "embed",
        "/v1/embeddings",
        {"model": MODEL, "input": [101, 7592, 102]},
        b'"embedding":[',
    ),
    Case(
        "embeddings, token id lists",
        "embed",
        "/v1/embeddings",
        {"model": MODEL, "input": [[101, 7592, 102], [101, 102]]},
        b'"index":1',
    ),
    Case("pooling", "embed", "/pooling", {"model": MODEL, "input": "Hello"}, b'"object":"pooling"', "/v1/pooling"),
    *(
        Case(
            f"score, {serves}",
            serves,
            "/v1/score",
            {"model": MODEL, "text_1": "Hello", "text_2": ["hi", "train"]},
            b'"score":',
        )
        for serves in ("embed", "rerank")
    ),
    *(
        Case(
            f"rerank at {through}, {serves}",
            serves,
            "/v1/rerank",
            {"model": MODEL, "query": "Hello", "documents": ["a train", "hi there", "hello"], "top_n": 2},
            b'"relevance_score":',
            through,
        )
        for serves in ("embed", "rerank")
        for through in ("/v1/rerank", "/v2/rerank")
    ),
    Case("classify", "rerank", "/classify", {"model": MODEL, "input": ["hi", "train"]}, b'"probs":', "/v1/classify"),
    # -- the engine says no: same status, same words, the client's own envelope
    Case("chat, too many tokens asked", "chat", CHAT, chat(max_tokens=999_999), b"max_tokens", refused=400),
    Case("chat, wrong type", "chat", CHAT, chat(temperature="hot"), b"temperature", refused=400),
    Case("chat, messages of no role", "chat", CHAT, chat(messages=[{"content": "x"}]), b"role", refused=400),
    Case("chat, stream, refused", "chat", CHAT, chat(stream=True, max_tokens=999_999), b"max_tokens", refused=400),
    Case(
        "chat, bad schema",
        "chat",
        CHAT,
        chat(response_format={"type": "json_schema"}),
        b"json_schema",
        refused=400,
    ),
    Case(
        "completions, prompt too long",
        "chat",
        COMPLETIONS,
        completion(prompt=[40] * 131_100),
        b"131072",
        refused=400,
    ),
    Case("responses, wrong type", "chat", RESPONSES, response(temperature="hot"), b"temperature", refused=400),
    Case(
        "messages, too many tokens asked",
        "chat",
        MESSAGES,
        message(max_tokens=999_999),
        b"max_model_len",
        refused=400,
    ),
    Case(
        "embeddings, dimensions refused",
        "embed",
        "/v1/embeddings",
        {"model": MODEL, "input": "Hello", "dimensions": 7},
        b"dimension",
        refused=400,
    ),
    # -- passthrough: opaque, refusals included
    *(
        Case(f"passthrough {method} {path}", serves, path, body, shows, method=method, passthrough=True)
        for method, path, serves, body, shows in [
            ("GET", "/v1/models", "chat", None, b'"max_model_len"'),
            ("GET", "/version", "chat", None, b'"version"'),
            ("POST", "/tokenize", "chat", {"model": MODEL, "prompt": "Hello"}, b'"tokens"'),
            ("POST", "/detokenize", "chat", {"model": MODEL, "tokens": [40]}, b'"prompt"'),
            ("POST", CHAT, "chat", chat(), b'"choices"'),
            ("POST", RESPONSES, "chat", response(), b'"output"'),
            ("POST", "/v1/messages/count_tokens", "chat", {"model": MODEL, "messages": HELLO}, b'"input_tokens"'),
            ("GET", "/no/such/route", "chat", None, b'"Not Found"'),
            ("GET", "/v1/completions", "chat", None, b'"Method Not Allowed"'),
            ("POST", "/pooling", "embed", {"model": MODEL, "input": "Hello"}, b'"pooling"'),
            ("POST", "/rerank", "rerank", {"model": MODEL, "query": "a", "documents": ["b", "c"]}, b'"results"'),
            (
                "POST",
                "/v1/rerank",
                "rerank",
                {"model": MODEL, "query": "a", "documents": ["b", "c"]},
                b'"results"',
            ),
            (
                "POST",
                "/v2/rerank",
                "rerank",
                {"model": MODEL, "query": "a", "documents": ["b", "c"]},
                b'"results"',
            ),
            ("POST", "/score", "rerank", {"model": MODEL, "text_1": "a", "text_2": ["b"]}, b'"score"'),
            ("POST", "/classify", "rerank", {"model": MODEL, "input": "hi"}, b'"probs"'),
        ]
    ),
    Case("passthrough, chat stream", "chat", CHAT, chat(stream=True), b"[DONE]", passthrough=True),
    Case("passthrough, messages stream", "chat", MESSAGES, message(stream=True), b"message_stop", passthrough=True),
    Case("passthrough, unknown model", "chat", CHAT, chat(model="nope"), b"does not exist", passthrough=True),
    Case("passthrough, malformed JSON", "chat", CHAT, b'{"model":', b"JSON", passthrough=True),
    Case(
        "passthrough, a query string",
        "chat",
        "/version?a=1&b=%2F+x",
        None,
        b'"version"',
        method="GET",
        passthrough=True,
    ),
]


def expected_changes(case, reply_is_error):
    """What Ferrovia declares for a case when every instance has a name of its own and usage is accounted."""
    if case.changes is not None:
        return case.changes
    if case.passthrough:
        return frozenset()
    expected = {"request.model"}
    body = case.body if isinstance(case.body, dict) else {}
    usage_asked = (body.get("stream_options") or {}).get("include_usage")
    if body.get("stream") and not usage_asked and case.path in (CHAT, COMPLETIONS):
        expected.add("request.stream_options")
    with_provider = (CHAT, RESPONSES, "/v1/embeddings", "/v1/rerank")
    if case.path in with_provider and not body.get("stream") and not reply_is_error:
        expected.add("response.provider")
    return frozenset(expected)


@dataclass(frozen=True)
class Own:
    """A call that Ferrovia must answer itself: no request for it may reach an engine."""

    name: str
    method: str
    path: str
    body: object
    status: int
    says: tuple = ()
    """Words that the message must contain, whatever their case."""
    type: str | None = None
    code: str | None = None
    headers: dict = field(default_factory=dict)
    key: str | None = "master"
    """`master` for the right key, another text for that key, None for none."""
    anthropic: bool = False


def asks(model, **more):
    return {"model": model, "messages": HELLO, "max_tokens": 5} | more


INVALID = "invalid_request_error"
MANY = b'{"model":"vllm/tiny-chat","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"

OWN = [
    Own(
        "unknown model",
        "POST",
        CHAT,
        asks("vllm/tiny-chut"),
        400,
        ("unsupported model: vllm/tiny-chut", "tiny-chat"),
        INVALID,
    ),
    Own(
        "unknown instance",
        "POST",
        CHAT,
        asks("nowhere/tiny-chat"),
        400,
        ("unsupported model", "nowhere/tiny-chat"),
        INVALID,
    ),
    Own("unknown bare model", "POST", CHAT, asks("nope"), 400, ("unsupported model", "nope"), INVALID),
    Own(
        "unknown model, messages",
        "POST",
        MESSAGES,
        asks("vllm/nope"),
        400,
        ("unsupported model",),
        INVALID,
        anthropic=True,
    ),
    Own("no model", "POST", CHAT, {"messages": HELLO}, 400, ("model",), INVALID),
    Own("model of a wrong type", "POST", CHAT, asks(7), 400, ("model",), INVALID),
    Own("stream of a wrong type", "POST", CHAT, asks("vllm/tiny-chat", stream="yes"), 400, ("stream",), INVALID),
    Own(
        "two models",
        "POST",
        CHAT,
        b'{"model":"vllm/tiny-chat","messages":[],"model":"vllm/x"}',
        400,
        ("model",),
        INVALID,
    ),
    Own(
        "messages of a wrong type",
        "POST",
        CHAT,
        {"model": "vllm/tiny-chat", "messages": "x"},
        400,
        ("messages",),
        INVALID,
    ),
    Own("no messages", "POST", CHAT, {"model": "vllm/tiny-chat"}, 400, ("messages",), INVALID),
    Own(
        "no max_tokens, messages",
        "POST",
        MESSAGES,
        {"model": "vllm/tiny-chat", "messages": HELLO},
        400,
        ("max_tokens",),
        INVALID,
        anthropic=True,
    ),
    Own("no body", "POST", CHAT, b"", 400, ("body",), INVALID),
    Own("cut JSON", "POST", CHAT, b'{"model":"vllm/tiny-chat","messages":', 400, ("invalid",), INVALID),
    Own("JSON and something behind it", "POST", CHAT, b'{"model":"vllm/tiny-chat"} x', 400, ("invalid",), INVALID),
    Own("an array", "POST", CHAT, b'["vllm/tiny-chat"]', 400, ("invalid",), INVALID),
    Own(
        "bytes that are not UTF-8",
        "POST",
        CHAT,
        b'{"model":"vllm/tiny-chat","x":"\xff"}',
        400,
        ("invalid",),
        INVALID,
    ),
    Own(
        "a bare control character",
        "POST",
        CHAT,
        b'{"model":"vllm/tiny-chat","x":"\x01"}',
        400,
        ("invalid",),
        INVALID,
    ),
    Own("200,000 brackets", "POST", CHAT, MANY, 400, ("invalid",), INVALID),
    Own("cut JSON, messages", "POST", MESSAGES, b'{"model":', 400, ("invalid",), INVALID, anthropic=True),
    Own("no key", "POST", CHAT, asks("vllm/tiny-chat"), 401, (), "authentication_error", key=None),
    Own("a wrong key", "POST", CHAT, asks("vllm/tiny-chat"), 401, (), "authentication_error", key="sk-wrong"),
    Own(
        "the engine's key",
        "POST",
        CHAT,
        asks("vllm/tiny-chat"),
        401,
        (),
        "authentication_error",
        key="sk-upstream",
    ),
    Own(
        "no key, messages",
        "POST",
        MESSAGES,
        asks("vllm/tiny-chat"),
        401,
        (),
        "authentication_error",
        key=None,
        anthropic=True,
    ),
    Own("no key, models", "GET", "/v1/models", None, 401, (), "authentication_error", key=None),
    Own(
        "no key, passthrough",
        "POST",
        "/p/vllm/tokenize",
        {"model": "tiny-chat", "prompt": "x"},
        401,
        (),
        "authentication_error",
        key=None,
    ),
    Own("no such route", "GET", "/v1/nothing", None, 404, ("/v1/nothing",), "not_found_error"),
    Own(
        "no such route, anthropic",
        "POST",
        "/v1/nothing",
        {},
        404,
        ("/v1/nothing",),
        "not_found_error",
        headers={"anthropic-version": "2023-06-01"},
        anthropic=True,
    ),
    Own("a wrong method", "GET", CHAT, None, 405, ("GET",), INVALID),
    Own("no such model", "GET", "/v1/models/vllm/nope", None, 404, ("nope",), "not_found_error"),
    Own(
        "embeddings from a chat engine",
        "POST",
        "/v1/embeddings",
        {"model": "vllm/tiny-chat", "input": "x"},
        501,
        (),
        INVALID,
        "unsupported_operation",
    ),
    Own(
        "rerank from a chat engine",
        "POST",
        "/v1/rerank",
        {"model": "vllm/tiny-chat", "query": "x", "documents": ["y"]},
        501,
        (),
        INVALID,
        "unsupported_rerank_operation",
    ),
    Own(
        "chat from an embedding engine",
        "POST",
        CHAT,
        asks("vllm-embed/all-minilm-l6-v2"),
        501,
        (),
        INVALID,
        "unsupported_operation",
    ),
    Own(
        "messages from an embedding engine",
        "POST",
        MESSAGES,
        asks("vllm-embed/all-minilm-l6-v2"),
        501,
        (),
        INVALID,
        anthropic=True,
    ),
    Own(
        "images",
        "POST",
        "/v1/images/generations",
        {"model": "vllm/tiny-chat", "prompt": "x"},
        501,
        (),
        INVALID,
        "unsupported_operation",
    ),
    Own(
        "a stored response",
        "GET",
        "/v1/responses/resp_1",
        None,
        501,
        (),
        INVALID,
        "unsupported_response_operation",
    ),
    Own("a file", "GET", "/v1/files", None, 501, (), INVALID, "unsupported_operation"),
    Own("passthrough to nobody", "GET", "/p/nobody/version", None, 400, ("nobody",), INVALID),
    *(
        Own(f"control route {path}", "POST", f"/p/vllm{path}", {}, 403, (), None)
        for path in [
            "/sleep",
            "/wake_up",
            "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter",
            "/reset_prefix_cache",
            "/pause",
            "/collective_rpc",
            "/%73leep",
            "//sleep",
        ]
    ),
    Own("a path that climbs", "POST", "/p/vllm/x/../sleep", {}, 400, (), INVALID),
]
