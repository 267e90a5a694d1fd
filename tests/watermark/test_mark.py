"""The scheme: its published vectors, which tokens are marked, and the file a key is in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.sampler.philox import Stream, numbers_of
from minivault.errors import ConfigError
from minivault.watermark import (
    WIDTH,
    Contexts,
    Mark,
    create_key,
    lane_of,
    marked,
    num_marked,
    purpose_of,
    read_mark,
)

PAGE = (Path(__file__).parents[2] / "docs" / "watermark.md").read_text()
KEY = bytes(range(32))
MARK = Mark(KEY)
TOKENS = st.lists(st.integers(0, 3), max_size=60)


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def test_the_published_vectors_are_what_is_computed() -> None:
    rows = rows_under("Test vectors")
    assert len(rows) >= 6
    for key, context, token, seed, digest, number, worth in rows:
        mark = Mark(bytes.fromhex(key))
        ids = tuple(map(int, context.split()))
        assert f"{hmac.digest(mark.secret, message(ids), 'sha256')[:12].hex()}" == digest
        [found] = numbers_of(Stream(*mark.words(ids), purpose_of(lane_of(int(seed)))), np.array([int(token)]))
        assert f"{int(found):08x}" == number
        u = (int(found) + 0.5) / 2**32
        assert float(-np.log1p(-u)) == pytest.approx(float(worth), rel=1e-12)


def message(context: tuple[int, ...]) -> bytes:
    """As the page says, spelled by other means than the code's."""
    return b"minivault gumbel-mark-1 context" + b"".join(token.to_bytes(4, "little") for token in context)


def test_the_published_key_ids_are_what_is_computed() -> None:
    found = re.findall(r"`([0-9a-f]{64})` has the id `([0-9a-f]{16})`", PAGE)
    assert found and all(Mark(bytes.fromhex(key)).key_id == key_id for key, key_id in found)


def test_code_of_the_page_gives_the_vectors_too() -> None:
    """What it says in Python, run as it stands there beside the code of docs/sampling.md that it names."""
    sampling = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text()
    names: dict[str, object] = {}
    for page in (sampling, PAGE):
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(block, names)
    numbers, p_value = names["marked_numbers"], names["p_value"]
    for key, context, token, seed, _, number, _ in rows_under("Test vectors"):
        ids = tuple(map(int, context.split()))
        assert f"{int(numbers(bytes.fromhex(key), ids, np.array([int(token)]), int(seed) % 16)[0]):08x}" == number  # type: ignore
    tokens = [int(i) for i in np.random.default_rng(5).integers(0, 50, 200)]
    from minivault.engine.detection import detect

    assert p_value(KEY, tokens) == pytest.approx(detect(MARK, tokens).p_value, rel=1e-9)  # type: ignore


@given(TOKENS)
def test_a_token_is_marked_where_four_of_the_answer_precede_it_for_the_first_time(tokens: list[int]) -> None:
    expected = list[tuple[tuple[int, ...], int]]()
    for at in range(WIDTH, len(tokens)):
        context = tuple(tokens[at - WIDTH : at])
        earlier = [tuple(tokens[i - WIDTH : i]) for i in range(WIDTH, at)]
        if context not in earlier:
            expected.append((context, tokens[at]))
    assert list(marked(tokens)) == expected
    assert num_marked(tokens) == len(expected)
    assert len(set(marked(tokens))) == len(expected), "no number is asked for twice"


@given(TOKENS)
def test_asking_for_the_context_changes_nothing(tokens: list[int]) -> None:
    asked, plain = Contexts(), Contexts()
    for token in tokens:
        assert asked.fresh == asked.fresh == plain.fresh
        asked.accept(token)
        plain.accept(token)


def test_keys_contexts_and_their_order_give_other_words() -> None:
    words = {mark.words(context) for mark in (MARK, Mark(bytes(32))) for context in ((1, 2, 3, 4), (4, 3, 2, 1))}
    assert len(words) == 4
    assert all(0 <= word < 2**32 for found in words for word in found)


def test_a_key_is_in_nothing_that_is_shown() -> None:
    shown = f"{MARK!r} {MARK} {MARK.name} {MARK.told}"
    assert KEY.hex() not in shown and repr(KEY)[2:-1] not in shown
    assert MARK.key_id not in (KEY.hex()[:16], hashlib.sha256(KEY).hexdigest()[:16])


# -- its file -----------------------------------------------------------------------------------------------------


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "data",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        base64.b64encode(KEY),
        b"  " + base64.b64encode(KEY) + b"\r\n",
    ],
)
def test_a_key_is_read_as_hex_base64_or_raw(tmp_path: Path, data: bytes) -> None:
    assert read_mark(written(tmp_path / "key", data), "F") == MARK


@pytest.mark.parametrize("data", [b"", b"\n", KEY[:-1], KEY + b"\n", KEY.hex().encode()[:-1], b"secret" * 9, KEY * 40])
def test_what_is_no_key_is_refused_with_what_to_do(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError, match="keys watermark") as refused:
        read_mark(written(tmp_path / "key", data), "F")
    assert refused.value.field == "F"
    if data.strip():
        assert repr(data) not in refused.value.message and data.decode("latin-1") not in refused.value.message


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_mark(written(tmp_path / "key", KEY, mode), "F")


def test_the_owners_group_may_read_it(tmp_path: Path) -> None:
    assert read_mark(written(tmp_path / "key", KEY, 0o640), "F") == MARK


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o755)
    for name, told in {"missing": "No such file", "folder": "not a regular", "pipe": "not a regular"}.items():
        with pytest.raises(ConfigError, match=told):
            read_mark(tmp_path / name, "F")


def test_a_new_key_is_its_owners_alone_and_never_replaces_one(tmp_path: Path) -> None:
    mark = create_key(tmp_path / "key")
    assert read_mark(tmp_path / "key", "F") == mark
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_key(tmp_path / "key")
    assert read_mark(tmp_path / "key", "F") == mark
