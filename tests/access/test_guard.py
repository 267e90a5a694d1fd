"""The guard in front of the whole application: what passes, in which order it decides, and that it forgets nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from minivault.access.guard import Guard
from minivault.access.keys import KeyFile, NewKey
from minivault.access.roles import PUBLIC_RULES, ROLES, Role, roles_for
from minivault.app import create_app
from minivault.config import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        log_dir=tmp_path / "vault",
        backend="tests.scripted:backend",
        rate_limit="1000/minute",
        auth_failure_limit="",
    )


@pytest.fixture
def make_app() -> Iterator[Any]:
    made: list[Flask] = []

    def make(settings: Settings, **changes: Any) -> Flask:
        made.append(create_app(replace(settings, **changes)))
        return made[-1]

    yield make
    for app in made:
        guard: Guard = app.extensions["minivault_guard"]
        guard.meter.rates.close()
        app.extensions["minivault"].close()


@pytest.fixture
def app(make_app: Any, settings: Settings) -> Flask:
    found: Flask = make_app(settings)
    return found


def key_of(settings: Settings, name: str = "alice", **options: Any) -> str:
    [(_, token)] = KeyFile(settings.keys_file).create(NewKey(name, **options))
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def every_call(app: Flask) -> list[tuple[str, str, str]]:
    """Method, path with its variables filled in, and rule of every route there is."""
    return [
        (method, re.sub("<[^>]+>", "1", rule.rule), rule.rule)
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def test_once_a_key_exists_no_route_but_ready_and_the_page_answers_without_one(app: Flask, settings: Settings) -> None:
    key_of(settings)
    client = app.test_client()
    calls = every_call(app)
    assert {"/generate", "/health", "/metrics", "/api/generate", "/v1/chat/completions"} <= {rule for *_, rule in calls}
    answered = {(method, rule) for method, path, rule in calls if client.open(path, method=method).status_code != 401}
    assert {rule for _, rule in answered} == PUBLIC_RULES


@pytest.mark.parametrize("path", ["/nothing", "/generate/", "/api/../vault", "/READY", "/ready/", "/ready/x"])
def test_what_has_no_route_needs_a_key_too(app: Flask, settings: Settings, path: str) -> None:
    key_of(settings)
    assert app.test_client().get(path).status_code == 401


def test_every_route_is_open_on_this_machine_while_there_is_no_key(app: Flask) -> None:
    assert app.test_client().get("/health").status_code == 200


def test_without_a_key_nobody_else_is_let_in_whatever_the_bind_says(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/health", environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 401
    assert client.get("/health", environ_overrides={"REMOTE_ADDR": ""}).status_code == 200, "a unix socket"


@pytest.mark.parametrize("field", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
def test_what_a_proxy_on_this_machine_passes_on_needs_a_key(app: Flask, settings: Settings, field: str) -> None:
    client = app.test_client()
    assert client.get("/health", headers={field: "192.0.2.1"}).status_code == 401
    token = key_of(settings)
    assert client.get("/health", headers={field: "192.0.2.1", **bearer(token)}).status_code == 200


def test_an_exposed_server_without_a_key_lets_nobody_in(make_app: Any, settings: Settings) -> None:
    client = make_app(settings, bind="0.0.0.0:8000").test_client()
    assert client.get("/health").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer mv_aaaaaaaaaaaa_" + "A" * 43,
        "Bearer mv_",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer x{token}",
        "Bearer {token} {token}",
        "Bearer " + "A" * 5000,
        "Bearer \u00e9",
    ],
)
def test_every_wrong_key_gets_the_same_401(app: Flask, settings: Settings, header: str) -> None:
    token = key_of(settings)
    client = app.test_client()
    expected = client.get("/health", headers=bearer("mv_wrong"))
    reply = client.get("/health", headers={"Authorization": header.format(token=token)})
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="minivault"')
    assert _without_id(reply) == _without_id(expected)


def test_revoked_expired_and_misplaced_keys_get_the_same_401(app: Flask, settings: Settings) -> None:
    revoked, expired, good = key_of(settings, "a"), key_of(settings, "b", expires_at=1), key_of(settings, "c")
    KeyFile(settings.keys_file).revoke("a")
    client = app.test_client()
    replies = [
        client.get("/health", headers=bearer(revoked)),
        client.get("/health", headers=bearer(expired)),
        client.get(f"/health?key={good}&api_key={good}"),
        client.get("/health", headers={"X-Api-Key": good, "Cookie": f"key={good}"}),
    ]
    assert {reply.status_code for reply in replies} == {401}
    assert len({str(_without_id(reply)) for reply in replies}) == 1


def _without_id(reply: TestResponse) -> dict[str, Any]:
    error: dict[str, Any] = dict(reply.get_json()["error"])
    return {**error, "request_id": ""}


def test_a_good_key_is_let_in_whatever_the_case_of_the_scheme(app: Flask, settings: Settings) -> None:
    token = key_of(settings)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert app.test_client().get("/health", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_a_browser_may_send_its_key_as_a_password(app: Flask, settings: Settings) -> None:
    token = key_of(settings)
    client = app.test_client()
    asked = client.get("/metrics", headers={"Accept": "text/html,*/*"})
    assert asked.status_code == 401
    assert any(challenge.startswith("Basic ") for challenge in asked.headers.getlist("WWW-Authenticate"))
    assert client.get("/metrics", headers={"Accept": "text/html"}, auth=("anyone", token)).status_code == 200
    for wrong in ("Basic", "Basic ?", "Basic " + base64.b64encode(token.encode()).decode(), "Basic w6k6w6k="):
        assert client.get("/metrics", headers={"Authorization": wrong}).status_code == 401
    assert client.get("/metrics").headers.getlist("WWW-Authenticate") == ['Bearer realm="minivault"'], (
        "programs are not asked"
    )


def test_failed_checks_are_limited_per_client_and_a_good_key_still_passes(make_app: Any, settings: Settings) -> None:
    token = key_of(settings)
    client = make_app(settings, auth_failure_limit="3/minute").test_client()
    statuses = [client.get("/health", headers=bearer("mv_wrong")).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    elsewhere = client.get("/health", headers=bearer("x"), environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert elsewhere.status_code == 401
    assert client.get("/health", headers=bearer(token)).status_code == 200


def test_no_log_line_holds_any_part_of_a_key(app: Flask, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    token = key_of(settings)
    client = app.test_client()
    with caplog.at_level("DEBUG"):
        client.get("/health", headers=bearer(token[:-1]))
        client.get("/health", headers=bearer(token))
    assert "refused a request from 127.0.0.1" in caplog.text
    assert token[:-1].split("_", 2)[2] not in caplog.text


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_its_routes_and_no_others(app: Flask, settings: Settings, role: Role) -> None:
    token = key_of(settings, role=role)
    client = app.test_client()
    for method, path, rule in every_call(app):
        if method == "OPTIONS" or rule in PUBLIC_RULES:
            continue
        status = client.open(path, method=method, headers=bearer(token)).status_code
        roles = roles_for(rule, method, is_dialect=_is_of_a_dialect(rule))
        assert (status == 403) == (role not in roles or _is_refused_by_the_dialect(rule)), (method, path)


def _is_of_a_dialect(rule: str) -> bool:
    is_native = rule in {"/generate", "/stream-generate", "/rerank", "/v2/rerank", "/tokenize", "/detokenize"}
    return is_native or rule.startswith(("/api/", "/v1/"))


def _is_refused_by_the_dialect(rule: str) -> bool:
    """Ollama's routes that change the server answer 403 to everyone."""
    return rule in {"/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"} or "/blobs" in rule


def test_only_auditors_read_the_vault_and_unlisted_routes_are_the_admins() -> None:
    assert roles_for("/vault/<id>") == {"audit", "admin"}
    assert roles_for("/vault/<id>", "POST") == roles_for("/vault/<id>", "DELETE") == {"admin"}
    assert roles_for("/generate", is_dialect=True) == {"use", "admin"}
    assert roles_for("/generate") == {"admin"}
    assert roles_for("/something-new") == {"admin"}


def test_a_route_that_nobody_listed_is_refused_to_users(make_app: Any, settings: Settings) -> None:
    app = make_app(settings)
    app.add_url_rule("/new", view_func=lambda: "secret")
    client = app.test_client()
    assert client.get("/new", headers=bearer(key_of(settings))).status_code == 403
    assert client.get("/new", headers=bearer(key_of(settings, "root", role="admin"))).status_code == 200


def test_a_limit_admits_as_many_as_it_says_and_tells_the_rest(make_app: Any, settings: Settings) -> None:
    client = make_app(settings, rate_limit="3/minute").test_client()
    replies = [client.post("/generate", json={}) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [400, 400, 400, 429, 429]
    assert [reply.headers["X-RateLimit-Remaining"] for reply in replies] == ["2", "1", "0", "0", "0"]
    refused = replies[-1]
    error = refused.get_json()["error"]
    assert error["code"] == "quota_exceeded"
    assert (error["policy"], error["limit"], error["remaining"], error["window_s"]) == ("requests", 3, 0, 60)
    assert 1 <= int(refused.headers["Retry-After"]) == error["retry_after_s"] <= 60
    assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=60'
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={error["retry_after_s"]}'


def test_monitors_are_not_counted_nor_refused(make_app: Any, settings: Settings) -> None:
    client = make_app(settings, rate_limit="1/minute").test_client()
    assert [client.get("/health").status_code for _ in range(3)] == [200] * 3
    assert client.post("/generate", json={}).status_code == 400


def test_a_key_has_its_own_rate_and_its_own_count(app: Flask, settings: Settings) -> None:
    slow, fast = key_of(settings, "slow", rate="1/hour"), key_of(settings, "fast")
    client = app.test_client()
    assert [client.post("/generate", headers=bearer(slow)).status_code for _ in range(2)] == [411, 429]
    assert client.post("/generate", headers=bearer(fast)).headers["X-RateLimit-Limit"] == "1000"


def test_a_foreign_host_is_refused_before_anything_else(app: Flask, settings: Settings) -> None:
    key_of(settings)
    for path in ("/ready", "/generate", "/nothing"):
        assert app.test_client().get(path, headers={"Host": "evil.example"}).status_code == 400


def test_a_request_without_a_host_is_refused(app: Flask) -> None:
    assert app.test_client().get("/health", environ_overrides={"HTTP_HOST": ""}).status_code == 400


def test_a_page_of_another_site_is_refused(app: Flask) -> None:
    reply = app.test_client().post("/generate", json={"prompt": "hi"}, headers={"Origin": "https://evil.example"})
    assert reply.status_code == 403
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_a_listed_origin_gets_its_preflight_and_its_fields(make_app: Any, settings: Settings) -> None:
    token = key_of(settings)
    client = make_app(settings, allowed_origins="https://chat.example").test_client()
    asking = {
        "Origin": "https://chat.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = client.options("/generate", headers=asking)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://chat.example"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    reply = client.get("/health", headers={"Origin": "https://chat.example", **bearer(token)})
    assert reply.status_code == 200
    assert reply.headers["Access-Control-Allow-Origin"] == "https://chat.example"
    assert "Origin" in reply.headers["Vary"]
    assert client.get("/health", headers={"Origin": "https://chat.example"}).status_code == 401


def test_a_preflight_of_any_other_origin_is_refused(make_app: Any, settings: Settings) -> None:
    client = make_app(settings, allowed_origins="https://chat.example").test_client()
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = client.options("/generate", headers=asking)
    assert reply.status_code == 403
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_building_the_application_opens_no_file(app: Flask, settings: Settings) -> None:
    assert not settings.home.exists()
