"""Where each value of a JSON text stands, so that single ones can be masked or taken out and every other byte kept."""

import json
import re
from dataclasses import dataclass

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
_PLAIN = re.compile(rb"-?[0-9][0-9.eE+-]*|true|false|null")


@dataclass(frozen=True)
class Span:
    """One value: its path (`("choices", 0, "delta")`), and from where to where it stands in the text."""

    path: tuple
    start: int
    end: int
    member: int
    """Where the member begins that holds this value: its key's quote; the value's own start in an array."""


def spans(text):
    """All values of a JSON text, an object after its members. Raises ValueError when it is not JSON."""
    found = []

    def skip(at):
        return _SPACE.match(text, at).end()

    def value(at, path, member):
        start = at = skip(at)
        sign = text[at : at + 1]
        if sign == b"{":
            at = skip(at + 1)
            while text[at : at + 1] != b"}":
                key = _STRING.match(text, at)
                if not key:
                    raise ValueError(f"no key at byte {at}")
                name = json.loads(key.group())
                colon = skip(key.end())
                if text[colon : colon + 1] != b":":
                    raise ValueError(f"no colon at byte {colon}")
                at = separator(value(colon + 1, (*path, name), at), b"}")
            at += 1
        elif sign == b"[":
            at, index = skip(at + 1), 0
            while text[at : at + 1] != b"]":
                at = separator(value(at, (*path, index), at), b"]")
                index += 1
            at += 1
        else:
            leaf = _STRING.match(text, at) or _PLAIN.match(text, at)
            if not leaf:
                raise ValueError(f"no value at byte {at}")
            at = leaf.end()
        found.append(Span(path, start, at, member))
        return at

    def separator(at, closing):
        at = skip(at)
        if text[at : at + 1] == b",":
            return skip(at + 1)
        if text[at : at + 1] != closing:
            raise ValueError(f"neither a comma nor the end at byte {at}")
        return at

    if skip(value(0, (), 0)) != len(text):
        raise ValueError("something stands behind the JSON")
    return found


def replace(text, pieces):
    """The text with (start, end, replacement) put in; pieces may come in any order but not overlap."""
    for start, end, new in sorted(pieces, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def without_member(text, name):
    """The text without a member of its top-level object and the comma that belonged to it, and whether it was there."""
    span = next((one for one in spans(text) if one.path == (name,)), None)
    if span is None:
        return text, False
    before = text[: span.member].rstrip(b" \t\r\n")
    if before.endswith(b","):
        return before[:-1] + text[span.end :], True
    after = re.sub(rb"^[ \t\r\n]*,[ \t\r\n]*", b"", text[span.end :])
    return text[: span.member] + after, True


def with_value(text, name, new):
    """The text with the value of a top-level member replaced by these bytes."""
    span = next(one for one in spans(text) if one.path == (name,))
    return replace(text, [(span.start, span.end, new)])
