"""Host names and web origins: what a page of another site can and cannot do."""

from __future__ import annotations

import pytest

from minivault.access.hosts import HostPolicy, OriginPolicy
from minivault.config import Settings
from minivault.errors import BadRequest, ConfigError, Forbidden

HERE = "localhost:8000"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8000", "box.lan:80"],
)
def test_our_own_names_with_any_port_are_served(host: str) -> None:
    HostPolicy.of(Settings(trusted_hosts="Box.lan, other")).ensure_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.7",
        "localhost:8000:1",
        "localhost:x",
        "user@localhost",
        "localhost/..",
        "localhost, evil.example",
        "[::2]",
        "[evil",
        "0.0.0.0",
        "ⅼocalhost",
        "2130706433",
        "127.1",
    ],
)
def test_any_other_host_is_refused(host: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        HostPolicy.of(Settings()).ensure_allowed(host)
    assert caught.value.field == "Host"


def test_the_address_bound_to_is_served() -> None:
    policy = HostPolicy.of(Settings(bind="192.168.1.7:8000"))
    policy.ensure_allowed("192.168.1.7:8000")
    with pytest.raises(BadRequest):
        policy.ensure_allowed("192.168.1.8:8000")


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "[::]:8000"])
def test_bound_to_all_interfaces_any_address_is_served_but_no_name(bind: str) -> None:
    policy = HostPolicy.of(Settings(bind=bind))
    policy.ensure_allowed("192.168.1.7:8000")
    policy.ensure_allowed("[fd00::1]:8000")
    with pytest.raises(BadRequest):
        policy.ensure_allowed("rebound.example:8000")


def ensure(method: str, allowed: str = "", own: str = f"http://{HERE}", **headers: str) -> None:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    OriginPolicy.of(Settings(allowed_origins=allowed)).ensure_allowed(method, fields, own)


def test_programs_that_are_no_browsers_are_let_through() -> None:
    ensure("POST")


def test_our_own_page_may_call_us() -> None:
    ensure("POST", Origin="http://localhost:8000", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost", "", "file://"]
)
def test_a_page_of_another_origin_may_not_call_us(origin: str) -> None:
    with pytest.raises(Forbidden):
        ensure("POST", Origin=origin)


@pytest.mark.parametrize(
    ("own", "origin"),
    [
        ("https://box.example", "http://box.example"),
        ("http://box.example", "https://box.example"),
        ("http://box.example:443", "https://box.example"),
        ("http://localhost:8000", "app://localhost:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://localhost:8000", "://localhost:8000"),
    ],
)
def test_the_same_host_under_another_scheme_is_another_origin(own: str, origin: str) -> None:
    with pytest.raises(Forbidden):
        ensure("POST", own=own, Origin=origin)


@pytest.mark.parametrize(
    ("own", "origin"),
    [("https://box.example:443", "https://box.example"), ("http://BOX.example", "http://box.example:80")],
)
def test_the_port_that_a_scheme_implies_may_be_written_or_not(own: str, origin: str) -> None:
    ensure("POST", own=own, Origin=origin)
    ensure("POST", allowed=own, Origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "chrome-extension://bpgomlklhjhkfheoeaafkgbneiidbnbb",
        "moz-extension://0b7e4c3a-1a2b-4c5d-8e9f-001122334455",
        "app://obsidian.md",
        "tauri://localhost",
        "capacitor://localhost",
        "vscode-webview://1a2b3c",
    ],
)
def test_apps_and_extensions_may_call_us_when_they_are_listed(origin: str) -> None:
    with pytest.raises(Forbidden):
        ensure("POST", Origin=origin, Sec_Fetch_Site="cross-site")
    ensure("POST", origin, Origin=origin, Sec_Fetch_Site="cross-site")
    with pytest.raises(Forbidden):
        ensure("POST", origin, Origin=origin + "x")


def test_a_listed_origin_may_call_us() -> None:
    ensure("POST", "https://chat.example, http://localhost:3000", Origin="http://localhost:3000")
    ensure("POST", "https://chat.example", Origin="https://chat.example", Sec_Fetch_Site="cross-site")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_a_request_that_another_site_makes_without_an_origin_is_refused(site: str) -> None:
    with pytest.raises(Forbidden):
        ensure("GET", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image")


def test_a_link_to_our_page_may_be_followed_but_not_framed_or_posted() -> None:
    navigation = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    ensure("GET", **navigation, Sec_Fetch_Dest="document")
    with pytest.raises(Forbidden):
        ensure("GET", **navigation, Sec_Fetch_Dest="iframe")
    with pytest.raises(Forbidden):
        ensure("POST", **navigation, Sec_Fetch_Dest="document")


@pytest.mark.parametrize(
    "origins",
    ["*", "chat.example", "https://chat.example/", "https://a.example,b.example", "null", "file://", "app:x", "*://x"],
)
def test_a_setting_that_is_no_list_of_origins_is_refused(origins: str) -> None:
    with pytest.raises(ConfigError, match="MINIVAULT_ALLOWED_ORIGINS"):
        OriginPolicy.of(Settings(allowed_origins=origins))
