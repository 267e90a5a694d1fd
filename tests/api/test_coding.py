"""Bodies may be packed, the same on every dialect, and what they unpack to is bounded."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.api.coding import FREE_BYTES, MAX_MEMBERS, MAX_RATIO, unpacked
from minivault.config import Settings
from minivault.errors import BadRequest, TooLarge
from tests.api.records import records
from tests.api.test_control_text import REQUESTS

LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "identity": bytes,
    "": bytes,
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": raw_deflate,
}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize(
    ("path", "body"), [*REQUESTS.items(), ("/v1/completions", {"model": "scripted", "prompt": "x"})]
)
def test_every_route_unpacks_its_body_and_records_it_unpacked(
    client: FlaskClient, settings: Settings, path: str, body: dict[str, object], name: str
) -> None:
    plain = json.dumps(body).encode()
    headers = {"Content-Encoding": name, "Content-Type": "application/json"}
    assert client.post(path, data=PACKERS[name](plain), headers=headers).status_code == 200
    assert records(settings)[-1]["request"] == plain.decode()


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, gzip", "identity, gzip", "compress", "*"])
@pytest.mark.parametrize("path", [*REQUESTS, "/v1/completions", "/api/show"])
def test_every_route_refuses_other_codings(client: FlaskClient, path: str, name: str) -> None:
    headers = {"Content-Encoding": name, "Content-Type": "application/json"}
    assert client.post(path, data=b"{}", headers=headers).status_code == 415


@given(data=st.binary(max_size=2000), coding=st.sampled_from(["gzip", "deflate"]), cut=st.integers(1, 50))
def test_what_is_cut_or_goes_on_is_refused(data: bytes, coding: str, cut: int) -> None:
    packed = PACKERS[coding](data)
    assert unpacked(packed, coding, LIMIT) == data
    for broken in (packed[:-cut], packed + b"junk"):
        with pytest.raises(BadRequest):
            unpacked(broken, coding, LIMIT)


def test_a_gzip_body_may_have_a_few_members() -> None:
    assert unpacked(gzip.compress(b"ab") + gzip.compress(b"c"), "gzip", LIMIT) == b"abc"
    with pytest.raises(BadRequest):
        unpacked(gzip.compress(b"a") * (MAX_MEMBERS + 1), "gzip", LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("limit", [LIMIT, LIMIT << 10])
def test_a_bomb_is_refused_within_the_bounds(coding: str, limit: int) -> None:
    bomb = PACKERS[coding](bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        unpacked(bomb, coding, limit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * min(limit, MAX_RATIO * len(bomb))


@settings(max_examples=30)
@given(size=st.integers(0, 2 * FREE_BYTES))
def test_a_small_body_may_have_any_ratio(size: int) -> None:
    packed = zlib.compress(bytes(size))
    if size <= max(FREE_BYTES, MAX_RATIO * len(packed)):
        assert unpacked(packed, "deflate", LIMIT) == bytes(size)
    else:
        with pytest.raises(TooLarge, match="times its size"):
            unpacked(packed, "deflate", LIMIT)


def test_a_body_is_bounded_by_what_it_unpacks_to(client: FlaskClient) -> None:
    text = "".join(chr(97 + index * index % 26) for index in range(2 * LIMIT))
    packed = gzip.compress(json.dumps({"prompt": text}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.post("/generate", data=packed, headers=headers).status_code == 413
