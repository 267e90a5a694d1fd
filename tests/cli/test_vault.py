"""The vault commands: what they print, what they refuse, how they end."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
import pytest

from minivault.cli import exits
from minivault.cli.options import When
from minivault.cli.replay import NOTHING_COMPARED
from minivault.vault import Vault
from tests.cli.conftest import PROJECT, Cli
from tests.vault.samples import ask, check, records

ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Three interactions in the vault that the commands are pointed at."""
    vault = Vault.open(tmp_path / "logs", sync="written")
    found = [
        ask(vault, "Hello", "Hi there")[0],
        ask(vault, f"two\nlines {ESCAPE}", "=1+1", key="k1")[0],
        ask(vault, "What is up?", "The sky")[0],
    ]
    vault.close()
    return found


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.mark.parametrize("args", [("tail",), ("search", "x"), ("stats",), ("head",), ("checkpoint",), ("recover",)])
def test_without_a_vault_a_command_says_so_and_makes_none(args: tuple[str, ...], offline_cli: Cli, logs: Path) -> None:
    result = offline_cli("vault", *args)
    assert (result.exit_code, result.stdout) == (exits.VAULT, "")
    assert "holds no vault" in result.stderr
    assert not logs.exists()


def test_tail_shows_one_safe_line_a_record(ids: list[str], offline_cli: Cli) -> None:
    head, *lines = offline_cli("vault", "tail", "-n", "4").stdout.splitlines()
    assert (head.split()[0], head.split()[-1], len(lines)) == ("SEQ", "WHAT", 4)
    assert lines[0].endswith("Hello -> Hi there")
    assert "\x1b" not in lines[1] and "\\x1b" in lines[1]
    assert lines[3].endswith("closes the vault")


def test_tail_leaves_out_who_read_the_vault_unless_that_is_asked_for(ids: list[str], offline_cli: Cli) -> None:
    before = offline_cli("vault", "tail", "-n", "2").stdout
    for _ in range(70):
        assert offline_cli("vault", "tail", "-n", "2").stdout == before
    assert "reads the vault: tail" in offline_cli("vault", "tail", "-n", "2", "--reads").stdout


def test_a_record_tells_who_by_the_keys_name(offline_cli: Cli, tmp_path: Path) -> None:
    key = json.loads(offline_cli("keys", "create", "alice", "--json").stdout)["keys"][0]["id"]
    with closing(Vault.open(tmp_path / "logs", sync="written")) as vault:
        ask(vault, "By whom?", "By her", key=key, api="openai.chat")
    line = next(line for line in offline_cli("vault", "tail").stdout.splitlines() if "By whom?" in line)
    assert line.split()[4:6] == ["alice", "openai.chat"]
    assert "who " in (shown := offline_cli("vault", "show", "last").stdout) and "alice" in shown.splitlines()[0]


def test_a_record_is_named_by_the_beginning_or_the_end_of_its_id_or_as_the_last(
    ids: list[str], offline_cli: Cli
) -> None:
    for name, expected in ((ids[0][-8:], ids[0]), (ids[1][:-1], ids[1]), ("last", ids[2]), (ids[1], ids[1])):
        assert json.loads(offline_cli("vault", "show", name, "--json").stdout)["id"] == expected
    several = offline_cli("vault", "show", ids[0][:6])
    assert (several.exit_code, several.stdout) == (exits.REFUSED, "")
    assert "fits several records" in several.stderr and ids[0] in several.stderr


def test_tail_as_json_gives_the_records(ids: list[str], offline_cli: Cli) -> None:
    found = [json.loads(line) for line in offline_cli("vault", "tail", "-n", "4", "--json").stdout.splitlines()]
    assert [record["id"] for record in found[:3]] == ids


def test_show_prints_a_record_whole(ids: list[str], offline_cli: Cli) -> None:
    shown = offline_cli("vault", "show", ids[0]).stdout
    assert "prompt:\nHello\n" in shown and "response:\nHi there\n" in shown
    assert json.loads(offline_cli("vault", "show", ids[0], "--json").stdout)["id"] == ids[0]
    missing = offline_cli("vault", "show", "nothing")
    assert (missing.exit_code, missing.stdout) == (exits.REFUSED, "")


def test_search_finds_by_text_and_key(ids: list[str], offline_cli: Cli) -> None:
    found = offline_cli("vault", "search", "hi there", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in found] == ids[:1]
    found = offline_cli("vault", "search", "--key", "k1", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in found] == ids[1:2]


@pytest.mark.parametrize("args", [("vault", "search"), ("vault", "stats"), ("replay", "--all")], ids=" ".join)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_what_matches_nothing_says_so_and_json_stays_json(
    args: tuple[str, ...], as_json: tuple[str, ...], ids: list[str], offline_cli: Cli
) -> None:
    result = offline_cli(*args, *as_json, "--since", "2099-01-01")
    assert result.exit_code in (exits.OK, NOTHING_COMPARED)
    assert "No interaction matches" in result.stderr
    for line in result.stdout.splitlines():
        assert as_json and not any(json.loads(line).get(name) for name in ("groups", "verdicts"))


def test_a_key_is_named_or_given_by_its_id(ids: list[str], offline_cli: Cli, tmp_path: Path) -> None:
    key = json.loads(offline_cli("keys", "create", "alice", "--json").stdout)["keys"][0]["id"]
    with closing(Vault.open(tmp_path / "logs", sync="written")) as vault:
        asked = ask(vault, "By whom?", "By her", key=key)[0]
    for given in ("alice", key):
        [line] = offline_cli("vault", "search", "--key", given, "--json").stdout.splitlines()
        assert json.loads(line)["id"] == asked
    offline_cli("keys", "revoke", "alice")
    offline_cli("keys", "create", "alice")
    [line] = offline_cli("vault", "search", "--key", "alice", "--json").stdout.splitlines()
    assert json.loads(line)["id"] == asked, "a name is every key that has or had it"


def test_a_filter_beside_an_id_is_not_dropped_in_silence(ids: list[str], offline_cli: Cli) -> None:
    assert offline_cli("replay", ids[0], "--status", "failed").exit_code == exits.USAGE


def test_stats_are_a_table_or_json(ids: list[str], offline_cli: Cli, logs: Path) -> None:
    assert offline_cli("vault", "stats").stdout.splitlines()[0].split()[:3] == ["DAY", "MODEL", "KEY"]
    groups = json.loads(offline_cli("vault", "stats", "--json").stdout)["groups"]
    assert [(group["key"], group["requests"]) for group in groups] == [("-", 2), ("k1", 1)]
    lines = [
        line
        for line in (logs / "log.jsonl").read_bytes().splitlines(keepends=True)
        if line.startswith(b'{"type":"interaction"')
    ]
    assert sum(group["num_bytes"] for group in groups) == sum(map(len, lines))


def test_verify_ends_with_the_verifiers_code(ids: list[str], offline_cli: Cli, logs: Path) -> None:
    good = offline_cli("vault", "verify")
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, "intact")
    log = logs / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"Hi there", b"Ho there"))
    bad = offline_cli("vault", "verify", "--json")
    assert (bad.exit_code, json.loads(bad.stdout)["first_bad_seq"]) == (2, 3)
    log.unlink()
    assert offline_cli("vault", "verify").exit_code == 2  # a checkpoint says that there was one
    (logs / "checkpoints.jsonl").unlink()
    (logs / "heads.jsonl").unlink()
    assert offline_cli("vault", "verify").exit_code == 3


def test_a_head_and_a_checkpoint_kept_elsewhere_find_a_cut_tail(
    ids: list[str], offline_cli: Cli, logs: Path, tmp_path: Path
) -> None:
    head = offline_cli("vault", "head").stdout.split()[1]
    kept = tmp_path / "kept.jsonl"
    kept.write_text(offline_cli("vault", "checkpoint").stdout)
    assert offline_cli("vault", "verify", "--expect-head", head, "--checkpoint", str(kept)).exit_code == 0
    (logs / "checkpoints.jsonl").unlink()
    (logs / "heads.jsonl").unlink()
    log = logs / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert offline_cli("vault", "verify").exit_code == 0
    assert offline_cli("vault", "verify", "--expect-head", head).exit_code == 2
    assert offline_cli("vault", "verify", "--checkpoint", str(kept)).exit_code == 2


def test_an_export_carries_its_proof(ids: list[str], offline_cli: Cli, tmp_path: Path, logs: Path) -> None:
    target = tmp_path / "excerpt.jsonl"
    assert offline_cli("vault", "export", "--key", "k1", "-o", str(target)).exit_code == 0
    assert b"Hi there" not in target.read_bytes()
    pubkey = str(logs / "vault.pub")
    assert offline_cli("vault", "verify", str(target), "--pubkey", pubkey).exit_code == 0
    again = offline_cli("vault", "export", "-o", str(target))
    assert (again.exit_code, "nothing is overwritten" in again.stderr) == (exits.USAGE, True)
    target.write_bytes(target.read_bytes().replace(b"two", b"one"))
    assert offline_cli("vault", "verify", str(target)).exit_code == 2


def test_a_csv_export_holds_no_formula(ids: list[str], offline_cli: Cli) -> None:
    rows = list(csv.DictReader(io.StringIO(offline_cli("vault", "export", "--format", "csv").stdout)))
    assert [row["response"] for row in rows] == ["Hi there", "'=1+1", "The sky"]
    assert rows[1]["prompt"].startswith("two\nlines")


def test_redacting_takes_the_content_and_leaves_the_proof(ids: list[str], offline_cli: Cli, logs: Path) -> None:
    assert offline_cli("vault", "redact", ids[1]).exit_code == exits.USAGE
    assert offline_cli("vault", "redact", ids[1], "--reason", "asked to", "--yes").exit_code == 0
    assert "redacted by record" in offline_cli("vault", "search", "--key", "k1").stdout
    assert b"owned" not in (logs / "log.jsonl").read_bytes()
    assert check(logs).exit_code == 0


def test_redacting_shows_what_goes_and_asks_first(ids: list[str], offline_cli: Cli, logs: Path) -> None:
    for answer in ("n\n", ""):
        refused = offline_cli("vault", "redact", ids[0][-8:], "--reason", "asked to", stdin=answer)
        assert (refused.exit_code, "Nothing was removed" in refused.stderr) == (exits.USAGE, True)
        assert "Hi there" in refused.stderr and "rendered_prompt" in refused.stderr
    assert b"Hi there" in (logs / "log.jsonl").read_bytes()
    assert offline_cli("vault", "redact", ids[0][-8:], "--reason", "asked to", stdin="y\n").exit_code == 0
    assert b"Hi there" not in (logs / "log.jsonl").read_bytes()
    assert "removed the content of record 3: asked to" in offline_cli("vault", "tail").stdout


def test_pruning_says_what_went(ids: list[str], offline_cli: Cli) -> None:
    shown = json.loads(offline_cli("vault", "prune", "--keep-days", "1", "--json").stdout)
    assert shown == {"seq": None, "records": 0, "segments": [], "held": ""}


def test_recovering_nothing_is_fine(ids: list[str], offline_cli: Cli) -> None:
    shown = json.loads(offline_cli("vault", "recover", "--json").stdout)
    assert shown == {"recovered": [], "redactions_completed": 0}


def test_reading_leaves_a_record_and_verifying_none(ids: list[str], offline_cli: Cli, logs: Path) -> None:
    before = len(records(logs, None))
    offline_cli("vault", "verify")
    offline_cli("vault", "head")
    assert len(records(logs, None)) == before
    offline_cli("vault", "search", "sky")
    [read] = records(logs, "read")
    assert (read["command"], read["filter"]["text"], read["records"]) == ("search", "sky", 1)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-02", 86_400 * 10**9),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str, time_ns: int) -> None:
    assert When().convert(text, None, None) == time_ns


def test_a_moment_that_is_none_is_a_usage_error(ids: list[str], offline_cli: Cli) -> None:
    with pytest.raises(click.BadParameter):
        When().convert("yesterday", None, None)
    assert offline_cli("vault", "search", "--since", "yesterday").exit_code == exits.USAGE


def test_how_long_ago_is_before_now() -> None:
    convert: Callable[[str], int] = lambda text: When().convert(text, None, None)  # noqa: E731
    assert convert("2d") < convert("1d") < convert("3h") < convert("5m")


@pytest.mark.parametrize(
    "args",
    [
        ("nowhere",),
        ("--expect-head", ""),
        ("--expect-head", "sha256:12"),
        ("--checkpoint", "nowhere"),
        ("--checkpoint", "logs/vault.pub"),
        ("--pubkey", "logs/checkpoints.jsonl"),
        ("--pubkey", "logs"),
        ("--unknown",),
        ("logs", "logs"),
        ("--max-line-mb", "0"),
    ],
)
def test_a_wrong_argument_of_verify_is_no_verdict(args: tuple[str, ...], ids: list[str], offline_cli: Cli) -> None:
    result = offline_cli("vault", "verify", *args)
    assert (result.exit_code, result.stdout) == (64, "")
    assert "Error: " in result.stderr


def test_a_wrong_setting_is_no_verdict(ids: list[str], offline_cli: Cli) -> None:
    assert offline_cli("vault", "verify", MINIVAULT_VAULT_SYNC="sometimes").exit_code == 64


@pytest.mark.parametrize(
    "command",
    [
        ("search", "no such text"),
        ("search", "--key", "nobody", "--json"),
        ("search", "--since", "2099-01-01"),
        ("search", "--model", "none"),
        ("search", "--status", "failed"),
        ("stats", "--key", "nobody"),
        ("stats", "--until", "2000-01-01", "--json"),
        ("export", "--key", "nobody"),
        ("export", "--key", "nobody", "--format", "csv"),
    ],
)
def test_an_empty_result_says_that_it_is_empty(command: tuple[str, ...], ids: list[str], offline_cli: Cli) -> None:
    result = offline_cli("vault", *command)
    assert result.exit_code == 0
    assert "No interaction matches" in result.stderr
    shown = offline_cli("vault", command[0])
    assert "No interaction" not in shown.stderr


def test_a_key_is_chosen_by_its_name_or_its_id(offline_cli: Cli, tmp_path: Path) -> None:
    key_id = json.loads(offline_cli("keys", "create", "alice", "--json").stdout)["keys"][0]["id"]
    vault = Vault.open(tmp_path / "logs", sync="written")
    mine, _ = ask(vault, key=key_id)
    ask(vault, key="another")
    vault.close()
    for name in ("alice", key_id):
        for command in (("search", "--json"), ("export",)):
            out = offline_cli("vault", *command, "--key", name).stdout
            whole = [json.loads(line) for line in out.splitlines() if '"prompt":' in line]
            assert [record["id"] for record in whole] == [mine]


def test_an_export_that_fails_half_way_leaves_no_file(
    ids: list[str], offline_cli: Cli, logs: Path, tmp_path: Path
) -> None:
    log = logs / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"Hi there", b"Ho there"))
    for format_ in ("jsonl", "csv"):
        result = offline_cli("vault", "export", "--format", format_, "-o", str(tmp_path / "out"))
        assert result.exit_code == exits.VAULT
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_", ["sqlite", "parquet"])
def test_a_table_has_a_row_for_each_chosen_interaction(
    format_: str, ids: list[str], offline_cli: Cli, tmp_path: Path
) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    assert offline_cli("vault", "export", "--format", format_).exit_code == exits.USAGE
    target = tmp_path / "table"
    assert offline_cli("vault", "export", "--format", format_, "-o", str(target)).exit_code == exits.OK
    assert target.stat().st_mode & 0o777 == 0o600
    rows = read_table(format_, target)
    assert [(row["id"], row["response"], row["completion_tokens"], row["total_ms"]) for row in rows] == [
        (ids[0], "Hi there", 2, 1.5),
        (ids[1], "=1+1", 2, 1.5),
        (ids[2], "The sky", 2, 1.5),
    ]
    again = offline_cli("vault", "export", "--format", format_, "-o", str(target))
    assert (again.exit_code, "there already" in again.stderr) == (exits.USAGE, True)


def read_table(format_: str, path: Path) -> list[dict[str, object]]:
    if format_ == "sqlite":
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM interactions ORDER BY seq")]
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pylist())


def test_the_documented_python_reads_and_verifies(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    page = (PROJECT / "docs" / "vault.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code.replace("capital", "hi there"), "docs/vault.md", "exec"), {})
    assert capsys.readouterr().out == "0 6\n3 Hello -> Hi there\n"


def test_whether_it_was_said_is_the_exit_code(ids: list[str], offline_cli: Cli, logs: Path, tmp_path: Path) -> None:
    with closing(Vault.open(logs, sync="written")) as vault:
        ask(vault, response="The ships that passed before dawn\nwere counted by nobody at all.")
    quote = tmp_path / "quote.txt"
    quote.write_text("ships that passed, before dawn: were counted by nobody")
    found = offline_cli("vault", "said", "--file", str(quote))
    assert (found.exit_code, found.stdout.splitlines()[0]) == (0, "found")
    assert "words 2 to 10 of 12" in found.stdout
    nearly = offline_cli("vault", "said", stdin="The boats that passed before dawn were counted by nobody at all.")
    assert nearly.exit_code == 1 and "given:    the boats" in nearly.stdout
    other = offline_cli("vault", "said", "nothing of the kind was ever said by any of them", "--json")
    assert (other.exit_code, json.loads(other.stdout)["verdict"]) == (2, "not found")
    assert "Fewer than 8 words" in offline_cli("vault", "said", "passed").stdout


@pytest.mark.parametrize("text", [b"", b" ?! ", b"x" * 100_001, b"\xff\xfe", b"a\0b"])
def test_what_is_no_text_gets_no_verdict(text: bytes, ids: list[str], offline_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(text)
    refused = offline_cli("vault", "said", "--file", str(tmp_path / "given"))
    assert (refused.exit_code, refused.stdout) == (64, "")
