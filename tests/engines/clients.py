#!/usr/bin/env python3
"""The official OpenAI and Anthropic SDKs through Ferrovia, as a user's program would use them.

    tests/engines/clients.py                      against real vLLM
    tests/engines/clients.py --engine simulator   against the simulated engine

Runs in an environment that has the pinned SDKs; .ci/run makes one. What is checked is what a program relies on:
that the SDK can read each reply into its own types, that streams end, and that refusals become the exceptions that
the SDK's documentation names. Which words the model says is not.
"""

import argparse
import contextlib
import io
import json
import sys
import wave

import anthropic
import openai

import cases
from stack import Gateway, add_engine_option, engines_for, public_ids, settings_for, speech_engine
from suite import Tally

KEY = "sk-master-of-the-clients"
CHAT, EMBED, SPEECH = "vllm/tiny-chat", "vllm-embed/all-minilm-l6-v2", "vllm-speech/tiny-whisper"
PLAIN = {"temperature": 0}
"""The Anthropic SDK no longer has this as an argument; the API still takes it."""
TURIN = "What is the weather in Turin?"


def expect(condition, complaint):
    return [] if condition else [complaint]


# -- openai -------------------------------------------------------------------------------------------------------


def openai_chat(client):
    reply = client.chat.completions.create(model=CHAT, messages=cases.HELLO, max_tokens=60)
    said = reply.choices[0].message.content
    found = expect(said, f"nothing was said: {reply}")
    found += expect(reply.usage and reply.usage.completion_tokens > 0, f"no usage: {reply.usage}")
    return found + expect(reply.choices[0].finish_reason == "stop", f"finish_reason {reply.choices[0].finish_reason}")


def openai_chat_stream(client):
    text, finish = "", None
    for chunk in client.chat.completions.create(model=CHAT, messages=cases.HELLO, max_tokens=60, stream=True):
        if not chunk.choices:
            return [f"a chunk without choices, which nobody asked for: {chunk}"]
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    return expect(text and finish == "stop", f"said {text!r}, finish_reason {finish}")


def openai_chat_stream_usage(client):
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model=CHAT, messages=cases.HELLO, max_tokens=60, stream=True, stream_options=options
    )
    last = list(stream)[-1]
    return expect(last.usage and last.usage.total_tokens > 0 and not last.choices, f"the last chunk is {last}")


def openai_tools(client):
    """A tool is called, its result is sent back, and the model goes on."""
    messages = [{"role": "user", "content": TURIN}]
    reply = client.chat.completions.create(model=CHAT, messages=messages, tools=[cases.TOOL], temperature=0)
    calls = reply.choices[0].message.tool_calls
    if not calls:
        return [f"no tool was called: {reply}"]
    found = expect(calls[0].function.name == "get_weather", f"called {calls[0].function}")
    found += expect("city" in json.loads(calls[0].function.arguments), f"called {calls[0].function}")
    messages.append(reply.choices[0].message)
    messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"})
    reply = client.chat.completions.create(model=CHAT, messages=messages, tools=[cases.TOOL], max_tokens=60)
    return found + expect(reply.choices[0].finish_reason, f"no answer to the tool's result: {reply}")


def openai_tools_stream(client):
    """The SDK's own accumulator puts a streamed tool call together."""
    with client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": TURIN}], tools=[cases.TOOL], temperature=0
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    return expect(calls and "city" in json.loads(calls[0].function.arguments), f"put together: {final}")


def openai_structured(client):
    reply = client.chat.completions.create(
        model=CHAT, messages=cases.HELLO, response_format=cases.json_schema(), max_tokens=200, temperature=0
    )
    return expect("city" in json.loads(reply.choices[0].message.content), f"not the schema: {reply}")


def openai_completions(client):
    reply = client.completions.create(model=CHAT, prompt="The train", max_tokens=12)
    return expect(reply.choices[0].text, f"nothing was said: {reply}")


def openai_responses(client):
    reply = client.responses.create(model=CHAT, input="Hello", max_output_tokens=60)
    return expect(reply.output_text and reply.status == "completed", f"status {reply.status}: {reply.output}")


def openai_responses_stream(client):
    kinds, final = [], None
    with client.responses.stream(model=CHAT, input="Hello", max_output_tokens=60) as stream:
        for event in stream:
            kinds.append(event.type)
        final = stream.get_final_response()
    found = expect(kinds[0] == "response.created" and kinds[-1] == "response.completed", f"events {kinds}")
    return found + expect(final.output_text and final.usage.total_tokens > 0, f"the final response is {final}")


def openai_responses_tool(client):
    reply = client.responses.create(model=CHAT, input=TURIN, tools=[cases.RESPONSES_TOOL], temperature=0)
    calls = [item for item in reply.output if item.type == "function_call"]
    return expect(calls and calls[0].name == "get_weather", f"output {reply.output}")


def openai_embeddings(client):
    """The SDK asks for base64 by itself, and decodes it."""
    reply = client.embeddings.create(model=EMBED, input=["Hello", "a train"])
    plain = client.embeddings.create(model=EMBED, input=["Hello", "a train"], encoding_format="float")
    found = expect([len(one.embedding) for one in reply.data] == [384, 384], "not two vectors of 384")
    worst = max(
        abs(a - b)
        for one, other in zip(reply.data, plain.data, strict=True)
        for a, b in zip(one.embedding, other.embedding, strict=True)
    )
    return found + expect(worst < 1e-5, f"base64 and float differ by {worst}")


def openai_models(client):
    listed = {model.id for model in client.models.list()}
    one = client.models.retrieve(CHAT)
    found = expect({CHAT, EMBED} <= listed, f"listed: {sorted(listed)}")
    return found + expect(one.id == CHAT and one.owned_by == "vllm", f"retrieved: {one}")


def openai_errors(client, url):
    """Each refusal is the exception that a program catches."""

    def unsupported():
        client.embeddings.create(model=CHAT, input="x")

    def unknown():
        client.chat.completions.create(model="vllm/nope", messages=cases.HELLO)

    def refused():
        client.chat.completions.create(model=CHAT, messages=cases.HELLO, max_tokens=999_999)

    def stranger():
        openai.OpenAI(base_url=url, api_key="sk-wrong", max_retries=0).models.list()

    def nowhere():
        client.models.retrieve("vllm/nope")

    found = raised("unknown model", openai.BadRequestError, unknown, 400)
    found += raised("refused by the engine", openai.BadRequestError, refused, 400)
    found += raised("a wrong key", openai.AuthenticationError, stranger, 401)
    found += raised("a model that is not there", openai.NotFoundError, nowhere, 404)
    return found + raised("what a chat engine cannot do", openai.InternalServerError, unsupported, 501)


def recording(seconds):
    """A WAV file of so many seconds: 16 kHz, 16 bit, nothing to hear."""
    sound = bytes(range(256)) * (seconds * 125)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(sound)
    return ("a recording.wav", file.getvalue(), "audio/wav")


def openai_transcription(client):
    """A short file, and one that is too large to be kept in memory."""
    found = []
    for seconds in (2, 120):
        heard = client.audio.transcriptions.create(model=SPEECH, file=recording(seconds), language="it")
        found += expect(heard.text and heard.usage.seconds == seconds, f"{seconds} s: {heard}")
    translated = client.audio.translations.create(model=SPEECH, file=recording(2))
    return found + expect(translated.text, f"translated: {translated}")


def openai_transcription_formats(client):
    found = []
    for form, begins in [("text", ""), ("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT\n\n")]:
        heard = client.audio.transcriptions.create(model=SPEECH, file=recording(2), response_format=form)
        found += expect(isinstance(heard, str) and heard.startswith(begins) and len(heard) > 10, f"{form}: {heard!r}")
    verbose = client.audio.transcriptions.create(model=SPEECH, file=recording(2), response_format="verbose_json")
    return found + expect(verbose.segments and verbose.duration, f"verbose_json: {verbose}")


def openai_transcription_stream(client):
    options = {"stream_include_usage": "true"}
    stream = client.audio.transcriptions.create(model=SPEECH, file=recording(2), stream=True, extra_body=options)
    events = [event.to_dict() for event in stream]
    said = "".join(one["choices"][0]["delta"]["content"] for one in events if one["choices"])
    found = expect(said, f"nothing was said: {events}")
    return found + expect(events[-1].get("usage"), f"no usage at the end: {events[-1]}")


def openai_transcription_errors(client):
    def deaf():
        client.audio.transcriptions.create(model=CHAT, file=recording(2))

    found = raised("a chat engine asked to listen", openai.InternalServerError, deaf, 501)
    without = client.with_options(max_retries=0)
    unknown = lambda: without.audio.transcriptions.create(model="vllm-speech/nope", file=recording(2))  # noqa: E731
    return found + raised("an unknown model", openai.BadRequestError, unknown, 400)


def raised(what, kind, call, status):
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError) as fault:
        found = expect(isinstance(fault, kind), f"{what}: {type(fault).__name__} instead of {kind.__name__}")
        found += expect(fault.status_code == status, f"{what}: status {fault.status_code} instead of {status}")
        return found + expect(fault.body, f"{what}: the SDK found no error object in the body")
    return [f"{what}: nothing was raised"]


# -- anthropic ----------------------------------------------------------------------------------------------------


def messages(client):
    reply = client.messages.create(model=CHAT, messages=cases.HELLO, max_tokens=60)
    found = expect(reply.content and reply.content[0].text, f"nothing was said: {reply}")
    found += expect(reply.usage.output_tokens > 0, f"no usage: {reply.usage}")
    return found + expect(reply.stop_reason == "end_turn", f"stop_reason {reply.stop_reason}")


def messages_stream(client):
    with client.messages.stream(model=CHAT, messages=cases.HELLO, max_tokens=60) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    found = expect(text and final.content[0].text == text, f"streamed {text!r}, final {final}")
    return found + expect(final.usage.output_tokens > 0, f"no usage: {final.usage}")


def messages_tool(client):
    """A tool is called, its result is sent back, and the model goes on."""
    said = [{"role": "user", "content": TURIN}]
    reply = client.messages.create(
        model=CHAT, messages=said, tools=[cases.MESSAGES_TOOL], max_tokens=80, extra_body=PLAIN
    )
    used = [block for block in reply.content if block.type == "tool_use"]
    if not used or reply.stop_reason != "tool_use":
        return [f"no tool was used: {reply}"]
    result = {"type": "tool_result", "tool_use_id": used[0].id, "content": "sunny"}
    said += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    reply = client.messages.create(model=CHAT, messages=said, tools=[cases.MESSAGES_TOOL], max_tokens=80)
    found = expect("city" in used[0].input, f"used with {used[0].input}")
    return found + expect(reply.stop_reason, f"no answer to the tool's result: {reply}")


def messages_tool_stream(client):
    with client.messages.stream(
        model=CHAT,
        messages=[{"role": "user", "content": TURIN}],
        tools=[cases.MESSAGES_TOOL],
        max_tokens=80,
        extra_body=PLAIN,
    ) as stream:
        final = stream.get_final_message()
    used = [block for block in final.content if block.type == "tool_use"]
    return expect(used and "city" in used[0].input, f"put together: {final}")


def messages_count(client):
    reply = client.messages.count_tokens(model=CHAT, messages=cases.HELLO)
    return expect(reply.input_tokens > 0, f"counted: {reply}")


def messages_errors(client, url):
    def unknown():
        client.messages.create(model="vllm/nope", messages=cases.HELLO, max_tokens=5)

    def refused():
        client.messages.create(model=CHAT, messages=cases.HELLO, max_tokens=200_000, timeout=30)

    def stranger():
        anthropic.Anthropic(base_url=url, api_key="sk-wrong", max_retries=0).messages.create(
            model=CHAT, messages=cases.HELLO, max_tokens=5
        )

    def unsupported():
        client.messages.create(model=EMBED, messages=cases.HELLO, max_tokens=5)

    found = raised("unknown model", anthropic.BadRequestError, unknown, 400)
    found += raised("refused by the engine", anthropic.BadRequestError, refused, 400)
    found += raised("a wrong key", anthropic.AuthenticationError, stranger, 401)
    return found + raised("what an embedding engine cannot do", anthropic.InternalServerError, unsupported, 501)


def both_credentials(_, url):
    """The SDK's two ways to send a key, `x-api-key` and a Bearer token, open the same door."""
    found = []
    for given in ({"api_key": KEY}, {"auth_token": KEY, "api_key": None}):
        client = anthropic.Anthropic(base_url=url, max_retries=0, **given)
        reply = client.messages.create(model=CHAT, messages=cases.HELLO, max_tokens=20)
        found += expect(reply.content, f"{next(iter(given))}: {reply}")
    return found


def run(tally, gateway):
    first = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=60)
    second = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=60)
    for name, check in [
        ("chat", openai_chat),
        ("chat stream", openai_chat_stream),
        ("chat stream with usage", openai_chat_stream_usage),
        ("tools", openai_tools),
        ("tools, stream", openai_tools_stream),
        ("structured output", openai_structured),
        ("completions", openai_completions),
        ("responses", openai_responses),
        ("responses stream", openai_responses_stream),
        ("responses tool", openai_responses_tool),
        ("embeddings", openai_embeddings),
        ("models", openai_models),
        ("transcription, simulated", openai_transcription),
        ("transcription formats, simulated", openai_transcription_formats),
        ("transcription stream, simulated", openai_transcription_stream),
        ("transcription errors, simulated", openai_transcription_errors),
    ]:
        tally.run(f"openai: {name}", check, first)
    tally.run("openai: errors", openai_errors, first, f"{gateway.url}/v1")
    for name, check in [
        ("messages", messages),
        ("messages stream", messages_stream),
        ("tool", messages_tool),
        ("tool, stream", messages_tool_stream),
        ("count_tokens", messages_count),
    ]:
        tally.run(f"anthropic: {name}", check, second)
    tally.run("anthropic: errors", messages_errors, second, gateway.url)
    tally.run("anthropic: both credentials", both_credentials, second, gateway.url)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_engine_option(parser)
    parser.add_argument("-k", metavar="TEXT", help="only checks with this text in their name")
    asked = parser.parse_args()
    tally = Tally(asked.k)
    with contextlib.ExitStack() as stack:
        engines = [*stack.enter_context(engines_for(asked.engine)), stack.enter_context(speech_engine())]
        gateway = stack.enter_context(Gateway(settings_for(engines), KEY))
        gateway.wait_for_models(public_ids(engines))
        run(tally, gateway)
    versions = f"openai {openai.__version__}, anthropic {anthropic.__version__}"
    return tally.end(f"real clients ({versions}) on {asked.engine} engines")


if __name__ == "__main__":
    sys.exit(main())
