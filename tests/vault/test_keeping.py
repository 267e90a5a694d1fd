"""What may not be removed: records below the retention floor, and records under a hold, whatever is tried."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest, MiniVaultError, NotFound, Retained
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.keeping import DAY_NS, holds_in_force
from minivault.vault.reader import Filter, users_of
from minivault.vault.rewrite import compress_segments
from tests.vault.samples import START_NS, Clock, ask, check, closing, opening, records

Make = Callable[..., Vault]
DAYS = 10


class Quick(Disk):
    """Waits for no disk."""

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]
        pass

    def fsync_directory(self, path: Path) -> None:
        pass


def fill(directory: Path, num_days: int = DAYS) -> Clock:
    """Two interactions a day, of two keys and two users, several days a segment; the clock stands at the end."""
    clock = Clock()
    vault = Vault.open(directory, sync="written", segment_bytes=6000, clock=clock, disk=Quick())
    for day in range(num_days):
        for number in range(2):
            request = json.dumps({"user": f"user-{day % 2}"})
            ask(vault, f"day {day}", "x" * 400, key=f"k{number}", request=request, time_ns=clock())
        clock.step(86_400)
    vault.close()
    return clock


def opened(directory: Path, clock: Clock, keep_days: float = 0) -> Archive:
    return Archive(directory, by="tester (uid 1)", clock=clock, keep_days=keep_days, disk=Quick())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A vault to copy, and the time at its end."""
    directory = tmp_path_factory.mktemp("filled") / "vault"
    return directory, fill(directory).now_ns


FILTERS = st.builds(
    Filter,
    text=st.sampled_from(["", "day 3", "DAY 7"]),
    key=st.sampled_from([(), ("k0",)]),
    user=st.sampled_from([None, "user-1"]),
    since_ns=st.sampled_from([None, START_NS + 4 * DAY_NS]),
    type=st.none(),
)
ACTS = st.one_of(
    st.tuples(st.just("redact"), st.integers(1, 45)),
    st.tuples(st.just("redact_all"), FILTERS),
    st.tuples(st.just("prune"), st.floats(0, 12)),
    st.tuples(st.just("hold"), FILTERS),
    st.tuples(st.just("release"), st.integers(0, 3)),
)


def act(archive: Archive, what: str, how: Any) -> None:
    if what == "redact":
        archive.redact(str(how), "asked for")
    elif what == "redact_all":
        archive.redact_all(archive.removable(replace(how, type="interaction")).targets, "asked for")
    elif what == "prune":
        archive.prune(how)
    elif what == "hold":
        archive.hold(f"h{len(archive.kept().holds)}", how, "a case")
    else:
        archive.release(f"h{how}", "closed")


@settings(max_examples=15, deadline=None)
@given(acts=st.lists(ACTS, min_size=1, max_size=6), keep_days=st.sampled_from([0.0, 2.5, 6.0]))
def test_nothing_removes_a_record_below_the_floor_or_under_a_hold(
    filled: tuple[Path, int], acts: list[tuple[str, Any]], keep_days: float
) -> None:
    with TemporaryDirectory() as folder:
        directory, clock = Path(folder) / "vault", Clock(filled[1])
        shutil.copytree(filled[0], directory)
        with opened(directory, clock, keep_days) as archive:
            for what, how in acts:
                kept = archive.kept()
                before = {r["seq"]: r for r in records(directory, None) if kept.refusal(r)}
                with suppress(MiniVaultError):
                    act(archive, what, how)
                after = {r["seq"]: r for r in records(directory, None)}
                assert {seq: after.get(seq) for seq in before} == before
        assert check(directory).exit_code == 0


def test_a_refusal_names_the_setting_and_removes_nothing(directory: Path) -> None:
    clock = fill(directory)
    young = records(directory)[-1]
    with opened(directory, clock, 3) as archive:
        with pytest.raises(Retained, match=r"MINIVAULT_VAULT_KEEP_DAYS=3"):
            archive.redact(young["id"], "asked for")
        with pytest.raises(Retained, match=r"MINIVAULT_VAULT_KEEP_DAYS=3.*--keep-days 3"):
            archive.prune(2)
        assert archive.prune(3).num_records > 0
    assert records(directory)[-1] == young


@pytest.mark.parametrize("days", [float("nan"), float("inf"), -1])
def test_a_number_of_days_that_is_none_prunes_nothing(directory: Path, days: float) -> None:
    clock = fill(directory, 3)
    before = records(directory, None)
    with opened(directory, clock) as archive, pytest.raises(BadRequest):
        archive.prune(days)
    assert records(directory, None) == before


def test_a_prune_goes_as_far_as_the_first_held_segment_and_says_so(directory: Path) -> None:
    clock = fill(directory)
    with opened(directory, clock) as archive:
        archive.hold("case-1", Filter(text="day 6", type=None), "a case")
        pruned = archive.prune(0)
        assert pruned.num_records > 0 and "'case-1'" in pruned.held
        with pytest.raises(Retained, match="case-1"):
            archive.prune(0)
        archive.release("case-1", "closed")
        assert archive.prune(0).num_records > 0
    assert check(directory).exit_code == 0


def test_a_record_among_older_ones_that_is_young_by_its_clock_keeps_its_segment(directory: Path) -> None:
    clock = Clock()
    vault = Vault.open(directory, sync="written", segment_bytes=6000, clock=clock)
    ask(vault, "from a wrong clock", time_ns=START_NS + 40 * DAY_NS)
    for _ in range(12):
        ask(vault, "now", "x" * 400, time_ns=clock())
    vault.close()
    clock.step(20 * 86_400)
    with opened(directory, clock, 7) as archive:
        assert archive.prune(7).seq is None


def chat(**fields: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "Hello"}], **fields})


TOLD = {
    "a system prompt": {"request": chat(messages=[{"role": "system", "content": 'Say "Falcon"'}])},
    "an earlier turn": {"request": chat(messages=[{"role": "user", "content": [{"type": "text", "text": "FALCON"}]}])},
    "a tool": {"request": chat(tools=[{"function": {"name": "falcon", "description": "flies"}}])},
    "what a tool gave": {"request": chat(messages=[{"role": "tool", "content": '{"bird": "falcon"}'}])},
    "letters as escapes": {"request": '{"system": "f\\u0061lcon"}'},
    "a prompt": {"prompt": "A falcon?"},
    "a call of a tool": {"response": '<tool_call>{"name": "falcon"}</tool_call>'},
    "a thought": {"reasoning": "They mean the falcon.", "response": "A bird."},
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_a_text_is_found_and_held_wherever_somebody_wrote_it(
    told: dict[str, Any], vault: Vault, directory: Path
) -> None:
    said = {name: told[name] for name in ("response", "reasoning") if name in told}
    entry = vault.begin(opening(**{name: told[name] for name in told if name not in said}))
    entry.finish(closing(**said))
    ask(vault)
    vault.close()
    with Archive(directory, by="me", disk=Quick()) as archive:
        assert [record["id"] for record in archive.search(Filter(text="falcon"), limit=9)] == [entry.id]
        archive.hold("case-1", Filter(text="falcon", type=None), "a case")
        with pytest.raises(Retained, match="case-1"):
            archive.redact(entry.id, "asked for")
        archive.redact("last", "asked for")


def test_what_a_template_adds_is_held_and_not_found(vault: Vault, directory: Path) -> None:
    ask(vault, rendered_prompt="You are a helpful falcon.")
    vault.close()
    with Archive(directory, by="me", disk=Quick()) as archive:
        assert list(archive.search(Filter(text="falcon"), limit=9)) == []
        archive.hold("case-1", Filter(text="falcon", type=None), "a case")
        with pytest.raises(Retained, match="case-1"):
            archive.redact("last", "asked for")


def test_a_hold_in_force_keeps_its_own_record(directory: Path) -> None:
    clock = fill(directory, 2)
    with opened(directory, clock) as archive:
        place = archive.hold("case-1", Filter(text="nothing like it", type=None), "a case")
        with pytest.raises(Retained, match="case-1"):
            archive.redact(str(place.seq), "to get rid of it")
        with pytest.raises(BadRequest, match="in force"):
            archive.hold("case-1", Filter(type=None), "again")
        archive.release("case-1", "closed")
        archive.redact(str(place.seq), "it names people")
        with pytest.raises(NotFound, match="hold list"):
            archive.release("case-1", "again")
    assert holds_in_force(directory) == []
    assert check(directory).exit_code == 0


def test_a_hold_that_cannot_be_understood_keeps_everything(directory: Path) -> None:
    clock = fill(directory, 2)
    vault = Vault.open(directory, sync="written", clock=clock)
    vault.append_event("hold", {"by": "a later version", "command": "add", "name": "new", "filter": {"mood": "sad"}})
    vault.close()
    with opened(directory, clock) as archive, pytest.raises(Retained, match="'new'"):
        archive.redact(records(directory)[0]["id"], "asked for")


@pytest.mark.parametrize(
    ("request_", "users"),
    [
        ('{"user": "bob"}', {"bob"}),
        ('{"user": "b\\u006fb", "safety_identifier": "s1"}', {"bob", "s1"}),
        ('{"metadata": {"user_id": "bob"}}', {"bob"}),
        ('{"metadata": "bob", "user": 7}', set()),
        ("[1]", set()),
        ("not json", set()),
        (None, set()),
    ],
)
def test_whom_a_request_names(directory: Path, vault: Vault, request_: str | None, users: set[str]) -> None:
    assert users_of({"request": request_}) == users
    ask(vault, request=request_ or "")
    wanted = Filter(user="bob", type=None)
    [line] = [json.dumps(r, separators=(",", ":")).encode() for r in records(directory)]
    assert wanted.may_match(line) or "bob" not in users


def test_all_of_a_person_goes_at_once_and_the_vault_stays_valid(directory: Path) -> None:
    clock = fill(directory)
    compress_segments(directory)
    with opened(directory, clock) as archive:
        erasure = archive.removable(Filter(user="user-1"))
        assert (len(erasure.targets), len(erasure.kept)) == (DAYS, 0)
        archive.redact_all(erasure.targets, "asked to be forgotten")
        again = archive.removable(Filter())
        assert (len(again.targets), again.num_without) == (DAYS, DAYS)
        assert archive.removable(Filter(user="user-1")).targets == []
        archive.redact_all(again.targets[:1], "one more in a file that was redacted before")
    report = check(directory)
    assert (report.exit_code, report.num_redacted) == (0, DAYS + 1)
    assert len(records(directory, "redaction")) == DAYS + 1


def test_what_was_asked_for_stays_where_a_hold_came_between(directory: Path) -> None:
    clock = fill(directory)
    with opened(directory, clock) as archive:
        erasure = archive.removable(Filter())
        archive.hold("late", Filter(text="day 9", type=None), "a case")
        before = records(directory, None)
        with pytest.raises(Retained, match="late"):
            archive.redact_all(erasure.targets, "asked for")
        assert records(directory, None) == before
        kept = archive.removable(Filter())
        assert (len(kept.targets), list(kept.kept.values())) == (2 * DAYS - 2, [2])


def test_a_redaction_of_many_that_a_crash_cut_short_is_completed(directory: Path) -> None:
    clock = fill(directory)
    compress_segments(directory)

    class Full(Quick):
        """Dies at the second swap, after its redactions were recorded."""

        num_renames = 0

        def rename(self, source: Path, target: Path) -> None:
            self.num_renames += 1
            if self.num_renames == 2:
                raise KeyboardInterrupt
            super().rename(source, target)

    with Archive(directory, by="tester (uid 1)", clock=clock, disk=Full()) as archive:
        erasure = archive.removable(Filter())
        with pytest.raises(KeyboardInterrupt):
            archive.redact_all(erasure.targets, "asked for")
    assert check(directory).exit_code == 1
    with opened(directory, clock) as archive:
        assert archive.recover()[1] > 1
        assert check(directory).exit_code == 0
        left = archive.removable(Filter()).targets
        assert 0 < len(left) < len(erasure.targets)
        archive.redact_all(left, "asked for")
        assert archive.removable(Filter()).targets == []
    assert check(directory).exit_code == 0
