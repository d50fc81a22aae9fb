#!/usr/bin/env python3
"""What Ferrovia adds to a call: the same calls to the simulated engine, directly and through it.

    tests/engines/latency.py [--calls N] [--at-once N]

A figure for comparing two builds on one machine, not for publishing: the client is Python, and shares the cores with
both servers. Nothing fails by it.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import cases
from stack import Gateway, public_ids, settings_for, start_engines, stop_engines
from wire import Reader

AT_ONCE = ["--prefill-tokens-per-second", "inf", "--decode-tokens-per-second", "inf"]
"""An engine that takes no time, so that only the servers' own shows."""


def one_connection(server, body, calls, into):
    """Calls one after another on one connection: (seconds to the first byte of the body, seconds to the end)."""
    request = server.request("POST", cases.CHAT, body)
    with server.connect() as sock:
        reader = Reader(sock)
        for _ in range(calls):
            began = time.perf_counter()
            sock.sendall(request)
            reply, first = reader.head(), None
            for _ in reader.pieces(reply):
                first = first or time.perf_counter() - began
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {reply.body[:200]!r}")
            into.append((first, time.perf_counter() - began))


def measure(server, body, calls, at_once):
    times = []
    one_connection(server, body, 20, [])  # warm
    threads = [
        threading.Thread(target=one_connection, args=(server, body, calls // at_once, times)) for _ in range(at_once)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, len(times) / (time.perf_counter() - began)


def percentile(values, share):
    return statistics.quantiles(values, n=100)[share - 1] * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=1, help="connections side by side")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ferrovia-latency-"))
        engines = start_engines("simulator", Path(folder), only=["vllm"], flags=AT_ONCE)
        stack.callback(stop_engines, engines)
        gateway = stack.enter_context(Gateway(settings_for(engines)))
        gateway.wait_for_models(public_ids(engines))
        engine = engines[0]
        print(f"{asked.calls} calls, {asked.at_once} at once; microseconds")
        print(f"{'':28}{'first p50':>10}{'first p99':>10}{'all p50':>10}{'all p99':>10}{'calls/s':>10}")
        for name, more in [("reply", {}), ("stream", {"stream": True})]:
            for way, server, model in [
                ("directly", engine.server, engine.model),
                ("through Ferrovia", gateway.server, f"{engine.instance}/{engine.model}"),
            ]:
                body = {"model": model, "messages": cases.HELLO, "max_tokens": 8} | more
                times, rate = measure(server, body, asked.calls, asked.at_once)
                firsts, ends = ([one[i] for one in times] for i in (0, 1))
                figures = [percentile(values, share) for values in (firsts, ends) for share in (50, 99)]
                print(f"{name + ', ' + way:28}" + "".join(f"{one:10.0f}" for one in figures) + f"{rate:10.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
