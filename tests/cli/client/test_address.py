"""Addresses as people write them."""

from __future__ import annotations

import pytest

from minivault.cli.client.address import bound_address, parse_address
from minivault.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "url", "is_loopback"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("localhost", "http://localhost", True),
        ("http://[::1]:8000/", "http://[::1]:8000", True),
        ("https://llm.example/vault/", "https://llm.example/vault", False),
        ("unix:/run/mv.sock", "http://localhost", True),
    ],
)
def test_each_way_to_write_an_address(text: str, url: str, is_loopback: bool) -> None:
    address = parse_address(text)
    assert (address.base_url, address.is_loopback) == (url, is_loopback)


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "h:0", "h:70000", "h:x", "http://u:p@h", "h?q=1", "h#f", "h h", "höst", "[::1"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("::1:80", "http://[::1]:80"),
        ("unix:/x", "unix:/x"),
        ("127.0.0.1:0", "None"),
    ],
)
def test_where_a_bind_address_is_reached(bind: str, url: str) -> None:
    assert str(bound_address(bind)) == url
