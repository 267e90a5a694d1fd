"""An interaction's record, however its reader goes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.config import load_settings
from minivault.interaction import Interaction, Origin, Recorder, next_id
from minivault.service import LocalModel, Roster
from minivault.types import Delta, Failed, GenerationRequest, SamplingParams
from minivault.vault.reader import read_records
from tests.scripted import backend


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 14), st.booleans(), st.booleans()), min_size=1, max_size=6)
)
def test_what_was_generated_and_counted_is_recorded(asked: list[tuple[int, int, bool, bool]]) -> None:
    """Usage equals the recorded tokens in every record: readers stop anywhere, models fail anywhere."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        env = {
            "MINIVAULT_HOME": f"{home}/home",
            "MINIVAULT_LOG_DIR": f"{home}/vault",
            "MINIVAULT_VAULT_SYNC": "written",
        }
        chosen = load_settings(env, home / ".env")
        model = LocalModel(chosen, backend)
        model.wait_loaded(30)
        recorder = Recorder(chosen, Roster(model))
        for max_tokens, num_read, fails, is_stream in asked:
            prompt = f"raise={max_tokens - 1} say whatever" if fails else "say whatever"
            request = GenerationRequest(prompt=prompt, stream=is_stream, params=SamplingParams(max_tokens=max_tokens))
            interaction = Interaction.begin(recorder, model, model.prepare(request), Origin(next_id(), "test"))
            for _, event in zip(range(num_read), interaction.events(), strict=False):
                assert isinstance(event, Delta | Failed) or event
            interaction.close()
        model.close()
        recorder.close()
        records = [record for record in read_records(home / "vault") if record["type"] == "interaction"]
        assert len(records) == len(asked)
        for record in records:
            assert record["usage"]["completion_tokens"] == len(record["completion_tokens"])
            if record["status"] == "completed":
                assert record["response"] == "whatever"[: len(record["completion_tokens"])]
