"""A line for each request, with no word of its text, and for nobody to wait for."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from minivault.config import Settings
from minivault.observe.ended import Refused
from minivault.observe.request_log import MAX_WAITING, RequestLog
from tests.api.records import records

SECRET = "xylophone"
SAME = ("id", "api", "model", "status", "finish_reason", "stream", "time_ns", "client")
ASKED = [
    ("/generate", {"prompt": f"say {SECRET}"}),
    ("/stream-generate", {"prompt": f"say {SECRET}", "stop": [SECRET + "!"]}),
    ("/v1/completions", {"model": "scripted", "prompt": [f"say {SECRET}", f"say {SECRET} again"]}),
    ("/v1/embeddings", {"model": "scripted", "input": SECRET}),
]


@pytest.fixture(params=["line", "json"])
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lines_of(app: Flask, style: Any, capsys: pytest.CaptureFixture[str], *asked: tuple[str, Any]) -> list[str]:
    recorder = app.extensions["minivault"]
    capsys.readouterr()
    recorder.watchers.open(replace(recorder.settings, request_log=style))
    for path, body in asked:
        _ = app.test_client().post(path, json=body).data
    recorder.watchers.close()
    return capsys.readouterr().out.splitlines()


def test_each_answer_has_one_line_that_says_who_what_how_and_which_record(
    app: Flask, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(app, style, capsys, *ASKED)
    assert len(lines) == 5
    for part in ("127.0.0.1", "scripted", "completed", "stop"):
        assert all(part in line for line in lines), part
    assert SECRET not in "".join(lines)


def test_a_json_line_has_the_names_and_values_of_its_record(
    app: Flask, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = map(json.loads, lines_of(app, "json", capsys, ASKED[0]))
    [record] = records(settings)
    assert {name: record[name] for name in SAME} == {name: line[name] for name in SAME}
    assert {name: line[name] for name in record["usage"] if name in line}.items() <= record["usage"].items()
    assert line["total_ns"] == record["timings"]["total_ns"]


def test_a_refused_request_has_a_line_and_a_failed_answer_no_second_one(
    app: Flask, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        ("/generate", {"prompt": 3}),
        ("/ready", {}),
        ("/generate", {"prompt": "raise=1 say x"}),
        (f"/{SECRET}", {}),
    ]
    lines = lines_of(app, style, capsys, *asked)
    assert ["refused" in line for line in lines] == [True, False, True]
    assert "/generate" in lines[0] and "400" in lines[0] and "failed" in lines[1] and "404" in lines[2]
    assert SECRET not in lines[2]


def test_a_terminal_that_reads_nothing_holds_nobody_up() -> None:
    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reads.wait()
            return super().write(text)

    reads, out = threading.Event(), Stuck()
    log = RequestLog("line", out)
    for number in range(MAX_WAITING + 10):
        log.refused(Refused(str(number), "POST /generate", 429, "rate_limited"))
    reads.set()
    log.close()
    assert "lines left out" in out.getvalue()


def test_off_unless_asked_for(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(app, app.extensions["minivault"].settings.request_log, capsys, ASKED[0]) == []
