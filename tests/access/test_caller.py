"""What a caller may use: whose count it falls under, and when the right to generate is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.access.caller import Meter, charge_tokens, generation_permit
from minivault.access.keys import Key
from minivault.access.rates import Rates
from minivault.config import Settings
from minivault.errors import ConfigError, QuotaExceeded

KEY = Key("k" * 12, "alice", "use", "0" * 64, created_at=0)


@pytest.fixture
def make_meter(tmp_path: Path) -> Iterator[Any]:
    made: list[Meter] = []

    def make(**settings: Any) -> Meter:
        rates = Rates("embedded", tmp_path / "run", clock=lambda: 1000.0)
        made.append(Meter(Settings(home=tmp_path, **settings), rates, clock=lambda: 1000.0))
        return made[-1]

    yield make
    for meter in made:
        meter.rates.close()


@pytest.mark.parametrize(
    ("client", "bucket"),
    [
        ("192.0.2.7", "client:192.0.2.7"),
        ("2001:db8::1", "client:2001:db8::/64"),
        ("2001:db8::ffff:ffff", "client:2001:db8::/64"),
        ("", "client:local"),
    ],
)
def test_without_a_key_a_client_is_its_address_or_its_network(make_meter: Any, client: str, bucket: str) -> None:
    assert make_meter().caller(None, client).bucket == bucket


def test_a_key_is_counted_as_itself_wherever_it_is_used(make_meter: Any) -> None:
    meter = make_meter(rate_limit="2/minute")
    for address in ("192.0.2.1", "192.0.2.2"):
        meter.count_request(meter.caller(KEY, address))
    with pytest.raises(QuotaExceeded):
        meter.count_request(meter.caller(KEY, "192.0.2.3"))
    meter.count_request(meter.caller(None, "192.0.2.1"))


def test_without_limits_nothing_is_counted_and_no_file_is_made(make_meter: Any, tmp_path: Path) -> None:
    meter = make_meter(rate_limit="", auth_failure_limit="")
    caller = meter.caller(None, "127.0.0.1")
    assert meter.count_request(caller) is None
    with generation_permit(caller):
        charge_tokens(caller, 1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_tokens_are_refused_once_they_are_used_up(make_meter: Any) -> None:
    meter = make_meter(token_limit="100/day")
    caller = meter.caller(None, "127.0.0.1")
    for _ in range(2):
        with generation_permit(caller):
            charge_tokens(caller, 60)
    with pytest.raises(QuotaExceeded) as caught:
        generation_permit(caller)
    assert caught.value.details["policy"] == "tokens"
    assert caught.value.retry_after_s == 86400


def test_generations_at_once_are_refused_and_come_back(make_meter: Any) -> None:
    caller = make_meter(concurrency_limit=1).caller(KEY, "127.0.0.1")
    permit = generation_permit(caller)
    with pytest.raises(QuotaExceeded, match="1 generation at once"):
        generation_permit(caller)
    assert permit.release()
    assert not permit.release()
    with generation_permit(caller):
        pass


def test_places_that_cannot_be_counted_refuse_nobody(make_meter: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a directory should be")
    with generation_permit(make_meter(concurrency_limit=1).caller(KEY, "127.0.0.1")):
        pass


@pytest.mark.parametrize("setting", ["rate_limit", "token_limit", "auth_failure_limit"])
def test_a_setting_that_is_no_limit_is_refused_at_once(make_meter: Any, setting: str) -> None:
    with pytest.raises(ConfigError, match="is not a limit"):
        make_meter(**{setting: "plenty"})
