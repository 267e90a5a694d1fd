"""`chat`: piped line by line, and in a real terminal where Ctrl-C stops an answer and not the program."""

from __future__ import annotations

import json
from pathlib import Path

from minivault.cli import exits
from tests.cli.conftest import Cli
from tests.cli.server import ScriptedServer, answer, endless, error, pieces
from tests.cli.tty import terminal
from tests.live import GUARD_S


def test_each_line_of_stdin_is_a_turn_and_the_conversation_grows(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("One"), answer("Two"))
    result = cli("chat", "--temperature", "0", stdin="first\n\nsecond\n")
    assert (result.exit_code, result.stdout, result.stderr) == (exits.OK, "One\nTwo\n", "")
    assert server.seen.bodies[1] == {
        "messages": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "One"},
            {"role": "user", "content": "second"},
        ],
        "truncate": True,
        "temperature": 0.0,
        "stream": True,
    }


def test_instructions_come_first_and_can_be_changed(cli: Cli, server: ScriptedServer) -> None:
    cli("chat", "--system", "Be brief", stdin="a\n/system Be long\nb\n/clear\n/system\nc\n")
    asked = [body["messages"] for body in server.seen.bodies]
    assert asked[0] == [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "a"}]
    assert asked[1][0] == {"role": "system", "content": "Be long"}
    assert len(asked[1]) == 4
    assert asked[2] == [{"role": "user", "content": "c"}]


def test_turns_that_the_server_left_out_are_told_and_no_longer_sent_but_saved(
    cli: Cli, server: ScriptedServer, tmp_path: Path
) -> None:
    server.will(answer("A"), answer("B"), answer("C", dropped_messages=2), answer("D", dropped_messages=2), answer("E"))
    result = cli("chat", "--system", "Be brief", stdin="a\nb\nc\nd\n/save all.json\ne\n/clear\nf\n")
    assert result.exit_code == exits.OK
    told = [line for line in result.stderr.splitlines() if "context is full" in line]
    assert ["the first 2 messages" in told[0], "the first 4 messages" in told[1], len(told)] == [True, True, 2]
    asked = [[message["content"] for message in body["messages"]] for body in server.seen.bodies]
    assert asked[3] == ["Be brief", "b", "B", "c", "C", "d"]
    assert asked[4] == ["Be brief", "c", "C", "d", "D", "e"]
    assert asked[5] == ["Be brief", "f"]
    saved = [message["content"] for message in json.loads((tmp_path / "all.json").read_text())["messages"]]
    assert saved == ["Be brief", "a", "A", "b", "B", "c", "C", "d", "D"]


def test_exit_leaves_and_what_follows_is_not_asked(cli: Cli, server: ScriptedServer) -> None:
    assert cli("chat", stdin="a\n/exit\nb\n").exit_code == exits.OK
    assert len(server.seen.bodies) == 1


def test_retry_asks_the_last_question_again_with_the_seed_that_was_set(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("A"), answer("B"), answer("C"))
    cli("chat", stdin="first\nsecond\n/seed 7\n/retry\n/seed\nthird\n")
    asked = [([m["content"] for m in body["messages"]], body.get("seed")) for body in server.seen.bodies]
    assert asked[1] == (["first", "A", "second"], None)
    assert asked[2] == (["first", "A", "second"], 7)
    assert asked[3] == (["first", "A", "second", "C", "third"], None)


def test_two_slashes_begin_a_message_with_one(cli: Cli, server: ScriptedServer) -> None:
    cli("chat", stdin="//clear is what?\n")
    assert server.seen.bodies[0]["messages"][-1]["content"] == "/clear is what?"


def test_show_prints_what_was_said_and_how_it_is_asked(cli: Cli, server: ScriptedServer) -> None:
    server.will(answer("One"))
    result = cli("chat", "--temperature", "0", "--system", "Be brief", stdin="first\n/show\n")
    assert result.stdout == "One\nsystem: Be brief\nuser: first\nassistant: One\n"
    assert "temperature 0.0" in result.stderr


def test_in_a_terminal_a_paste_is_one_message_and_alt_enter_another_line(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with terminal("chat", MINIVAULT_URL=server.url, MINIVAULT_HOME=str(tmp_path / "kept")) as tty:
        tty.expect(">")
        tty.type("\x1b[200~one\ntwo\x1b[201~\r")
        tty.expect("Hello")
        tty.expect(">")
        tty.type("three\x1b\rfour\r")
        tty.expect("Hello")
        tty.expect(">")
        tty.type("/he\t\r")
        tty.expect("Alt-Enter goes on")
        tty.expect(">")
        tty.type("/exit\r")
        assert tty.process.wait(GUARD_S) == exits.OK
    assert [body["messages"][-1]["content"] for body in server.seen.bodies] == ["one\ntwo", "three\nfour"]
    history = tmp_path / "kept" / "chat_history"
    assert "+two" in history.read_text() and history.stat().st_mode & 0o777 == 0o600


def test_a_history_that_is_not_wanted_is_not_kept(server: ScriptedServer, tmp_path: Path) -> None:
    with terminal("chat", "--no-history", MINIVAULT_URL=server.url, MINIVAULT_HOME=str(tmp_path / "kept")) as tty:
        tty.expect(">")
        tty.type("secret\r")
        tty.expect("Hello")
        tty.type("/exit\r")
        assert tty.process.wait(GUARD_S) == exits.OK
    assert not (tmp_path / "kept" / "chat_history").exists()


def test_an_unknown_command_is_explained_and_never_sent(cli: Cli, server: ScriptedServer) -> None:
    result = cli("chat", stdin="/frobnicate\n")
    assert "/system TEXT" in result.stderr
    assert server.seen.bodies == []


def test_the_conversation_is_saved_for_its_owner_only_and_no_file_is_overwritten(cli: Cli, tmp_path: Path) -> None:
    result = cli("chat", stdin="a\n/save talk.json\n/save talk.json\n")
    saved = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert saved == {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Hello world"}]}
    assert (tmp_path / "talk.json").stat().st_mode & 0o777 == 0o600
    assert "cannot save to talk.json: File exists" in result.stderr


def test_piped_the_first_failed_turn_ends_the_program_with_its_code(cli: Cli, server: ScriptedServer) -> None:
    server.will(error(503, "overloaded", "full"))
    result = cli("chat", stdin="a\nb\n")
    assert (result.exit_code, result.stderr) == (exits.UNAVAILABLE, "Error: full\n")
    assert len(server.seen.bodies) == 1


def test_raw_and_a_conversation_exclude_each_other(cli: Cli) -> None:
    assert cli("chat", "--raw", stdin="a\n").exit_code == exits.USAGE


def test_in_a_terminal_ctrl_c_stops_the_answer_and_not_the_program(server: ScriptedServer) -> None:
    server.will(endless, answer("Still here"))
    with terminal("chat", MINIVAULT_URL=server.url) as tty:
        tty.expect(">")
        tty.type("talk\n")
        tty.expect("word word")
        tty.type("\x03")
        tty.expect("[stopped]")
        assert server.client_left.wait(GUARD_S), "the server sees that its client has left"
        tty.expect(">")
        tty.type("go on\n")
        tty.expect("Still here")
        tty.expect(">")
        tty.interrupt_prompt(">")
        tty.type("\x04")
        assert tty.process.wait(GUARD_S) == exits.OK
    kept = server.seen.bodies[1]["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant", "user"]
    assert kept[1]["content"].startswith("word word")


def test_in_a_terminal_a_failed_turn_is_told_and_forgotten(server: ScriptedServer) -> None:
    server.will(pieces(b'{"token": "Half", "index": 0}\n'), answer("Whole"))
    with terminal("chat", MINIVAULT_URL=server.url) as tty:
        tty.expect(">")
        tty.type("one\n")
        tty.expect("the answer was cut")
        tty.expect(">")
        tty.type("two\n")
        tty.expect("Whole")
        tty.type("/exit\n")
        assert tty.process.wait(GUARD_S) == exits.OK
    assert server.seen.bodies[1]["messages"] == [{"role": "user", "content": "two"}]


def test_in_a_terminal_what_the_model_says_cannot_command_it(server: ScriptedServer) -> None:
    server.will(answer("a\x1b]0;owned\x07b"))
    with terminal("ask", "Hi", MINIVAULT_URL=server.url) as tty:
        assert "\x1b" not in tty.expect("\\x1b]0;owned\\x07b")


def test_in_a_terminal_ctrl_c_ends_ask_with_130(server: ScriptedServer) -> None:
    server.will(endless)
    with terminal("ask", "Hi", MINIVAULT_URL=server.url) as tty:
        tty.expect("word word")
        tty.type("\x03")
        assert tty.process.wait(GUARD_S) == exits.INTERRUPTED
        assert server.client_left.wait(GUARD_S)


def test_a_benchmark_shows_its_progress_in_a_terminal(server: ScriptedServer) -> None:
    server.will(endless)
    with terminal("benchmark", "-c", "2", "--warmup", "0", MINIVAULT_URL=server.url) as tty:
        tty.expect("0/2")
        tty.expect("2 running")
        tty.expect("tokens/s")
        tty.type("\x03")
        assert tty.process.wait(GUARD_S) == exits.INTERRUPTED
