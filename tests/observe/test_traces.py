"""Traces for a collector: the conventions' names, the client's own trace, no word of text, and nobody waits."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions
from opentelemetry.semconv.attributes import error_attributes

from minivault.access.offline import OfflineGuard, allowed_peers
from minivault.config import Settings
from minivault.observe.ended import Ended
from minivault.observe.gen_ai import ATTRIBUTES, operation
from minivault.observe.traces import QUEUE_SPANS, Traces
from minivault.types import Usage
from tests.api.records import records
from tests.live import GUARD_S

SECRET = "xylophone"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ENDED = Ended("id", "generate", "model", 1, "completed", "stop", Usage(3, 4), {"total_ns": 5})


class Collector(BaseHTTPRequestHandler):
    """Takes spans, and what else was sent with them."""

    taken: queue.Queue[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.put((self.path, ExportTraceServiceRequest.FromString(body), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, queue.Queue[Any]]]:
    taken: queue.Queue[Any] = queue.Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Taking", (Collector,), {"taken": taken}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


def test_an_answer_is_a_span_of_its_clients_trace_with_the_conventions_names_and_no_text(
    app: Flask, settings: Settings, collector: tuple[str, queue.Queue[Any]]
) -> None:
    url, taken = collector
    watchers = app.extensions["minivault"].watchers
    watchers.open(replace(settings, otel_endpoint=url))
    body = {"prompt": f"say {SECRET}", "temperature": 0.5, "stop": [f"{SECRET}!"], "seed": 7}
    answer = app.test_client().post("/generate", json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    watchers.close()
    path, request, raw = taken.get(timeout=GUARD_S)
    [span] = request.resource_spans[0].scope_spans[0].spans
    told = {one.key: one.value for one in span.attributes}
    [record] = records(settings)
    assert path == "/v1/traces"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == f"text_completion {record['model']}"
    assert told["gen_ai.response.id"].string_value == answer.get_json()["id"] == record["id"]
    assert told["gen_ai.usage.output_tokens"].int_value == record["usage"]["completion_tokens"]
    assert told["gen_ai.request.temperature"].double_value == 0.5
    assert told["gen_ai.request.seed"].int_value == 7
    assert span.end_time_unix_nano - span.start_time_unix_nano == record["timings"]["total_ns"]
    assert SECRET.encode() not in raw


def test_a_failed_answer_is_a_span_that_says_so(app: Flask, settings: Settings, collector: Any) -> None:
    watchers = app.extensions["minivault"].watchers
    watchers.open(replace(settings, otel_endpoint=collector[0]))
    app.test_client().post("/generate", json={"prompt": "raise=1 say x"})
    watchers.close()
    [span] = collector[1].get(timeout=GUARD_S)[1].resource_spans[0].scope_spans[0].spans
    assert (span.status.code, bool(span.status.message)) == (2, True)
    assert "error.type" in {one.key for one in span.attributes}


@pytest.mark.parametrize("listens", [True, False], ids=["hangs", "refuses"])
def test_a_dead_collector_holds_nobody_up(listens: bool) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        if listens:
            dead.listen(1)
        traces = Traces(f"http://127.0.0.1:{dead.getsockname()[1]}", every_s=0.001)
        for _ in range(2 * QUEUE_SPANS):
            traces.ended(ENDED)
        traces.close()


def test_every_name_is_one_of_the_conventions_or_ours() -> None:
    known = {value for name, value in vars(conventions).items() if name.startswith("GEN_AI")}
    known.add(error_attributes.ERROR_TYPE)
    assert {name for name in ATTRIBUTES if not name.startswith("minivault.")} <= known
    operations = {one.value for one in conventions.GenAiOperationNameValues}
    apis = ["generate", "ollama.chat", "openai.responses", "anthropic.messages", "openai.embeddings", "ollama.embed"]
    assert {operation(replace(ENDED, api=api)) for api in apis} <= operations


def test_the_collector_is_the_only_other_machine_that_its_setting_opens() -> None:
    peers = allowed_peers(Settings(otel_endpoint="http://192.0.2.7:4318"))
    assert peers == ["192.0.2.7"]
    guard = OfflineGuard(peers)
    with socket.socket() as sock:
        guard("socket.connect", (sock, ("192.0.2.7", 4318)))
        with pytest.raises(PermissionError):
            guard("socket.connect", (sock, ("192.0.2.8", 4318)))
