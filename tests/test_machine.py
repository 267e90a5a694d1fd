from __future__ import annotations

from pathlib import Path

import pytest

from minivault.config import Settings
from minivault.models import ModelStore
from minivault.replay.machine import Machine
from tests.models import gpt2, tiny_gguf
from tests.replaying import wandering


@pytest.mark.timeout(120)
def test_records_find_their_model_among_all_that_are_on_the_machine(tmp_path: Path) -> None:
    gpt2.write_vocabulary(tmp_path)
    file = tiny_gguf.write(tmp_path / "tiny.gguf", *tiny_gguf.vocabulary(tmp_path / "merges.txt"))
    settings = Settings(home=tmp_path / "home", model="smollm2-135m")
    ModelStore(settings.models_dir).pull(str(file))
    told = list[str]()
    machine = Machine(settings, told.append)
    records = [{"model": name, "seq": seq} for seq, name in enumerate(["tiny", "other", "tiny"])]
    found = [(model, [record["seq"] for record in mine]) for model, mine in machine.by_model(records)]
    machine.close()
    assert [seqs for _, seqs in found] == [[0, 2], [1]]
    assert found[0][0] is not None
    assert found[1][0] is None
    assert told == ["tiny"]


def test_a_served_model_says_its_name_once_it_is_loaded(tmp_path: Path) -> None:
    machine = Machine(wandering(tmp_path))
    [(model, _)] = machine.by_model([{"model": "wanderer"}])
    assert model is machine.roster.default
    machine.close()
