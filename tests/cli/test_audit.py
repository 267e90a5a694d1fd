from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from minivault.cli.vault.audit import bound
from minivault.config import Settings
from minivault.replay.tolerant import Opinion
from minivault.vault.chosen import sampled
from tests.cli.conftest import Cli
from tests.replaying import answer, loaded, other_arithmetic, other_model, wandering

MADE_BY = {"ours": None, "near": other_arithmetic, "edition": other_model}


def filled(tmp_path: Path, *made_by: str) -> Settings:
    """A vault with three answers by each of some engines."""
    settings = wandering(tmp_path)
    for name in made_by:
        make = MADE_BY[name]
        with loaded(settings, *([make] if make else [])) as model:
            answer(settings, model, "one", "two", "three", max_tokens=60, ignore_eos=True)
    return settings


def environment(settings: Settings) -> dict[str, str]:
    return {
        "MINIVAULT_BACKEND": settings.backend,
        "MINIVAULT_HOME": str(settings.home),
        "MINIVAULT_LOG_DIR": str(settings.log_dir),
    }


def test_an_audit_tells_rates_seed_and_how_sure_it_is(tmp_path: Path, offline_cli: Cli) -> None:
    env = environment(filled(tmp_path, "ours", "near"))
    result = offline_cli("vault", "audit", "--sample", "5", "--seed", "7", **env)
    assert result.exit_code == 0, result.output
    assert "5 of 6 answers, drawn with --seed 7" in result.stdout
    assert "tokens are those that are drawn here" in result.stdout
    assert "at most 45.1% of the answers" in result.stdout
    again = offline_cli("vault", "audit", "--sample", "5", "--seed", "7", "--json", **env)
    told = json.loads(again.stdout)
    assert (told["sample"], told["of"], told["seed"]) == (5, 6, 7)
    assert told["counts"]["identical"] + told["counts"]["consistent"] == 5
    assert [opinion["seq"] for opinion in told["opinions"]] == sorted(o["seq"] for o in told["opinions"])


def test_an_answer_of_another_model_shows_and_is_the_exit_code(tmp_path: Path, offline_cli: Cli) -> None:
    env = environment(filled(tmp_path, "ours", "edition"))
    result = offline_cli("vault", "audit", **env)
    assert result.exit_code == 1
    assert result.stdout.count("  inconsistent (") == 3
    assert "drawn with --seed" in result.stdout
    replayed = offline_cli("replay", "--tolerant", "--all", **env)
    assert replayed.exit_code == 1
    assert "3 identical, 3 inconsistent." in replayed.stderr


def test_nothing_to_judge_is_a_code_of_its_own_and_a_wrong_option_another(tmp_path: Path, offline_cli: Cli) -> None:
    env = environment(filled(tmp_path, "ours"))
    result = offline_cli("vault", "audit", "--until", "2020-01-01", **env)
    assert (result.exit_code, result.stderr.count("No interaction matches")) == (3, 1)
    assert offline_cli("vault", "audit", "--sample", "0", **env).exit_code == 64
    bad = tmp_path / "limits.json"
    bad.write_text("{}")
    assert offline_cli("vault", "audit", "--limits", str(bad), **env).exit_code == 64
    assert offline_cli("replay", "last", "--limits", str(bad), **env).exit_code == 2


def test_a_model_that_is_not_here_is_named(tmp_path: Path, offline_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = filled(tmp_path, "ours")
    env = environment(settings) | {"MINIVAULT_BACKEND": "tests.scripted:backend"}
    result = offline_cli("vault", "audit", **env)
    assert result.exit_code == 3
    assert "3 its model 'wanderer' is not on this machine" in result.stdout


def test_a_sample_is_the_same_whatever_else_there_is() -> None:
    records: list[dict[str, Any]] = [{"id": f"r{i}", "seq": i} for i in range(100)]
    chosen, total = sampled(records, 10, 3)
    assert (len(chosen), total) == (10, 100)
    left = [record for record in records if record in chosen or record["seq"] % 2]
    assert sampled(left, 10, 3)[0] == chosen
    assert sampled(records, 10, 4)[0] != chosen
    assert sampled(records[:3], 10, 3) == (records[:3], 3)


@pytest.mark.parametrize(("num_bad", "num"), [(0, 200), (3, 200), (0, 1), (7, 9)])
def test_the_bound_is_where_so_few_would_be_seen_once_in_twenty(num_bad: int, num: int) -> None:
    found = [Opinion("", 0, "", "inconsistent" if i < num_bad else "consistent") for i in range(num)]
    part = bound(found)
    assert part is not None
    so_few = sum(math.comb(num, k) * part**k * (1 - part) ** (num - k) for k in range(num_bad + 1))
    assert so_few == pytest.approx(0.05, abs=1e-4)
    assert bound(found[:num_bad]) == (1.0 if num_bad else None)
