"""The requests of a batch, one JSON object a line, and what makes a file no batch.

A file is judged whole before its first request is made: what is wrong is told with its line. What a request itself
asks for is judged when it is made, like anybody's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from minivault.errors import BadRequest
from minivault.wire.openai.batches import LineFault
from minivault.wire.strict_json import loads

MAX_LINES = 50_000
MAX_FAULTS = 100
MAX_CUSTOM_ID = 512
AROUND_BODY = 4096
"""What a line may hold beside its request's body, in bytes."""
_MEMBERS = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class Line:
    """One request. `number` counts from 1; `body` is JSON, as it is sent to the endpoint."""

    number: int
    custom_id: str
    model: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """What a file holds. It is a batch if it has no faults."""

    num_lines: int
    model: str
    faults: tuple[LineFault, ...]


def judge(file: IO[bytes], endpoint: str, max_body_bytes: int) -> Judged:
    """Read a whole file: at most MAX_FAULTS faults are told."""
    faults, seen, model, num_lines = list[LineFault](), dict[str, int](), "", 0
    for found in read_lines(file, endpoint, max_body_bytes):
        num_lines += 1
        if num_lines > MAX_LINES:
            faults.append(
                LineFault("too_many_requests", f"a batch has at most {MAX_LINES} requests", found.line_number)
            )
            break
        fault = found.fault or _fault_among(found.request, seen, model)
        if fault is not None:
            faults.append(fault)
        if found.line is not None:
            seen.setdefault(found.line.custom_id, found.line.number)
            model = model or found.line.model
        if len(faults) == MAX_FAULTS:
            break
    if not num_lines:
        faults.append(LineFault("empty_file", "the file holds no request"))
    return Judged(num_lines, model, tuple(faults))


@dataclass(frozen=True, slots=True)
class Found:
    """What a line holds: a request, or a fault."""

    line_number: int
    line: Line | None = None
    fault: LineFault | None = None

    @property
    def request(self) -> Line:
        assert self.line is not None
        return self.line


def read_lines(file: IO[bytes], endpoint: str, max_body_bytes: int) -> Iterator[Found]:
    """Every line that is not blank. Never more than one is held."""
    limit, number = max_body_bytes + AROUND_BODY, 0
    while data := file.readline(limit + 1):
        number += 1
        if len(data) > limit and not data.endswith(b"\n"):
            while data and not data.endswith(b"\n"):
                data = file.readline(1 << 16)
            message = f"the line is longer than {limit} bytes (MINIVAULT_MAX_BODY_KB bounds a request)"
            yield Found(number, fault=LineFault("line_too_long", message, number))
        elif data.strip():
            yield _read(data.rstrip(b"\r\n"), number, endpoint)


def _read(data: bytes, number: int, endpoint: str) -> Found:
    try:
        given = loads(data)
    except BadRequest as error:
        message = error.message.replace("the body", "the line")
        return Found(number, fault=LineFault("invalid_json_line", message, number))
    fault = _fault_in(given, number, endpoint)
    if fault is not None:
        return Found(number, fault=fault)
    body = json.dumps(given["body"], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return Found(number, Line(number, given["custom_id"], given["body"]["model"], body))


def _fault_in(given: dict[str, Any], number: int, endpoint: str) -> LineFault | None:
    """What is wrong with one line by itself."""
    body, custom_id = given.get("body"), given.get("custom_id")
    checks = (
        ("custom_id", isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID,
         f"custom_id must be a string of 1 to {MAX_CUSTOM_ID} characters"),
        ("method", given.get("method") == "POST", "method must be POST"),
        ("url", given.get("url") == endpoint, f"url must be the batch's endpoint, {endpoint}"),
        ("body", isinstance(body, dict), "body must be an object: the request"),
        ("body.model", isinstance(body, dict) and isinstance(body.get("model"), str) and bool(body["model"]),
         "body.model must name the model"),
        ("body.stream", isinstance(body, dict) and not body.get("stream"), "body.stream: nobody reads a stream here"),
    )  # fmt: skip
    for param, is_right, message in checks:
        if not is_right:
            code = "missing_required_parameter" if given.get(param) is None and "." not in param else "invalid_value"
            return LineFault(code, message, number, param)
    unknown = next((key for key in given if key not in _MEMBERS), None)
    if unknown is not None:
        message = f"{unknown} is no member of a request line; there are {', '.join(_MEMBERS)}"
        return LineFault("unknown_parameter", message, number, unknown[:64])
    return None


def _fault_among(line: Line, seen: dict[str, int], model: str) -> LineFault | None:
    """What is wrong with a line beside those before it."""
    if line.custom_id in seen:
        message = f"custom_id {line.custom_id!r} is that of line {seen[line.custom_id]}"
        return LineFault("duplicate_custom_id", message, line.number, "custom_id")
    if model and line.model != model:
        message = f"a batch is for one model: {line.model!r} is not {model!r} of the lines before"
        return LineFault("mismatched_model", message, line.number, "body.model")
    return None
