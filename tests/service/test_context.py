"""How much a model reads: its own context, what a setting lowers it to, and what memory allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minivault.config import Settings
from minivault.errors import ConfigError
from minivault.service.context import UNSAID, cache_bytes, own_context, raised_by, wanted_context
from minivault.service.memory import _left_in_groups, free_bytes

LLAMA = {"max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("config", "own"),
    [
        (LLAMA, 8192),
        ({"n_positions": 1024}, 1024),
        ({"text_config": LLAMA, "max_position_embeddings": 77}, 8192),
        ({"seq_length": 2048}, 2048),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_a_model_says_how_much_it_reads(config: dict[str, Any], own: int | None) -> None:
    assert own_context(config) == own
    assert wanted_context(Settings(), config) == (own or UNSAID)


def test_a_setting_lowers_the_context_and_may_not_raise_it() -> None:
    assert wanted_context(Settings(context=4096), LLAMA) == 4096
    assert wanted_context(Settings(context=8192), LLAMA) == 8192
    with pytest.raises(ConfigError, match="MINIVAULT_CONTEXT=8193: this model reads 8192 tokens at most"):
        wanted_context(Settings(context=8193), LLAMA)
    assert wanted_context(Settings(context=9000), {}) == 9000


def test_what_allows_for_more_is_named() -> None:
    assert raised_by(Settings(), LLAMA, 8192) == ""
    assert raised_by(Settings(), LLAMA, 5000) == "MINIVAULT_CACHE_MB"
    assert raised_by(Settings(context=4096), LLAMA, 4096) == "MINIVAULT_CONTEXT"
    assert raised_by(Settings(context=4096), LLAMA, 3000) == "MINIVAULT_CACHE_MB"
    assert raised_by(Settings(), {}, UNSAID) == "MINIVAULT_CONTEXT"


def test_workers_share_half_of_what_is_free_unless_a_setting_says_how_much() -> None:
    assert cache_bytes(Settings(workers=2), 4 << 30) == 1 << 30
    assert cache_bytes(Settings(workers=2, cache_mb=100)) == 100 << 20
    assert 0 < cache_bytes(Settings()) <= free_bytes()


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_a_control_group_and_those_above_it_leave_so_much(tmp_path: Path) -> None:
    stat = "anon 5\ninactive_file 30\ntotal_inactive_file 40"
    write(tmp_path / "system" / "mine", memory__max="max", memory__current=9, memory__stat=stat)
    write(tmp_path / "system", memory__max=1000, memory__current=300, memory__stat=stat)
    write(tmp_path, memory__max=5000, memory__current=300, memory__stat=stat)
    mine = tmp_path / "memory" / "mine"
    write(mine, memory__limit_in_bytes=700, memory__usage_in_bytes=100, memory__stat=stat)
    listed = tmp_path / "cgroup"
    listed.write_text("5:cpu,cpuacct:/x\n0::/system/mine\n")
    assert list(_left_in_groups(listed, tmp_path)) == [730, 4730]
    listed.write_text("4:memory:/mine\n")
    assert list(_left_in_groups(listed, tmp_path)) == [640]
    listed.write_text("0::/somewhere/outside\n")
    assert list(_left_in_groups(listed, tmp_path)) == [4730]
    assert list(_left_in_groups(tmp_path / "none", tmp_path)) == []
