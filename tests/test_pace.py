"""Tests hold on any machine: none asserts seconds, or a figure of one kind of CPU, and none sleeps until it "must be".

What is promised in seconds is measured by `benchmarks/` (docs/operations.md says which). A test waits for an event with
`tests.live.until`, whose patience is only a guard against hanging; a limit that stands for "never" or "any machine" is
`NEVER_S` or `GUARD_S`. The lines below are the exceptions, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns", "process_time"}
WAITS = {"timeout", "timeout_s", "read", "read_timeout_s"}
PATIENT_S = 30

LIMIT = "the limit under test: what is waited for never comes"
LEAVES = "a client that leaves so soon; its answer goes on until it has left"
ROUNDING = "float32 rounding of two orders of one sum; no kind of CPU rounds differently"
CHANCE = "chance from fixed seeds, computed in integers: the same figure everywhere"
BITS = "the exact engine gives the same bits on every CPU: its distance from floats is one figure"

ALLOWED = {
    "access/test_storage.py: storage = SqliteStorage(embedded_uri(tmp_path), timeout_s=0.05)": LIMIT,
    "cli/client/test_client.py: with client(server, clock, wait_s=1000, read_timeout_s=0.2) as asking, "
    "pytest.raises(errors.DeadlineExceeded):": LIMIT,
    "cli/client/test_client.py: with client(server, Clock(), read_timeout_s=0.2) as asking, "
    "closing(asking.stream(BODY)) as lines:": LIMIT,
    "cli/server.py: pause.wait(0.005)": "the pace of an endless answer",
    "engine/exact/test_correctness.py: assert relative_error(runner.every_logit(ids), expected) < 0.06": BITS,
    "engine/exact/test_correctness.py: assert relative_error(prefill(runner, 0, ids[:149]), expected[148]) < 0.1": BITS,
    "engine/exact/test_correctness.py: "
    "assert relative_error(decode(runner, [0], ids[149:], [149])[0], expected[149]) < 0.1": BITS,
    "engine/exact/test_correctness.py: "
    "assert relative_error(load(variant, bits=4).every_logit(ids), reference(load, variant, ids)[0]) < 0.4": BITS,
    "engine/exact/test_families.py: assert divergence(found, expected) < 0.01": BITS,
    'api/test_watermark.py: assert (detect(mark, record["completion_tokens"]).p_value < 1e-6) or not is_free': CHANCE,
    "engine/exact/test_correctness.py: assert relative_error(Floats(prepared, 320).logits(ids), expected) < 1e-5": BITS,
    "engine/exact/test_families.py: "
    "assert relative_error(Floats(prepared, CONTEXT).logits(TOKENS), expected) < 1e-5": BITS,
    "engine/exact/test_families.py: "
    "assert np.median([relative_error(*rows) for rows in zip(found, expected, strict=True)]) < 0.02": BITS,
    "engine/exact/test_families.py: assert divergence(found, expected) < 0.0005": BITS,
    "engine/exact/test_parts.py: "
    'assert relative_error(Floats(directory / "weights.exact", 320).logits(tokens(60)), expected) < 0.03': BITS,
    "engine/exact/test_parts.py: assert relative_error(found, expected) < 0.06": BITS,
    "engine/exact/test_lora.py: assert relative_error(found, expected) < 0.08": BITS,
    "engine/exact/test_lora.py: assert relative_error(without, expected) > 0.2": BITS,
    "engine/exact/test_correctness.py: assert relative_error(found, mean / np.linalg.norm(mean)) < 0.03": BITS,
    "engine/test_sampler.py: assert sum((pairs[pair] - num) ** 2 / num for pair, num in expected.items()) < 37.7  "
    "# 0.1 %, 15 degrees of freedom": CHANCE,
    "engine/test_sampler.py: assert num_same / num > 0.99": CHANCE,
    'api/test_watermark.py: assert found["p_value"] < 1e-12 and found["log10_p"] < -12': CHANCE,
    'api/test_watermark.py: assert other.get_json()["p_value"] > 1e-6 and other.get_json()["num_tokens"] == 25': CHANCE,
    'cli/test_detect.py: assert told["key"] == read_mark(key, "").key_id and told["p_value"] < 1e-30': CHANCE,
    "engine/test_detection.py: assert found.p_value < 1e-30": CHANCE,
    "engine/test_detection.py: assert detect(OTHER, tokens).p_value > 0.001": CHANCE,
    "engine/test_detection.py: assert detect(MARK, written(100, mark=None)).p_value > 0.001": CHANCE,
    "engine/test_detection.py: assert detect(MARK, written(100, mark=OTHER)).p_value > 0.001": CHANCE,
    "engine/test_detection.py: assert detect(MARK, tokens[37:97]).p_value < 1e-9": CHANCE,
    "engine/test_detection.py: assert detect(MARK, [*around, *tokens, *around]).p_value < 1e-9": CHANCE,
    "engine/test_detection.py: assert found.p_value > 1e-12": CHANCE,
    "engine/test_detection.py: assert max(one.p_value for one in found) < 1e-12": CHANCE,
    "engine/test_detection.py: "
    'assert ((counts - expected) ** 2 / expected).sum() < 16.3, "chi-squared, 3 degrees, one in a thousand"': CHANCE,
    "engine/test_marking.py: assert detect(MARK, marked).p_value < 1e-12 < detect(MARK, plain).p_value": CHANCE,
    'test_marked.py: assert detect(mark, sampled["completion_tokens"]).p_value < 1e-6': CHANCE,
    "engine/test_sampler.py: assert abs(((numbers[1:] - 0.5) * (numbers[:-1] - 0.5)).mean()) < 0.003": CHANCE,
    'test_quality.py: assert measured["mean_kl"] <= 0.003': BITS,
    'test_quality.py: assert measured["top1_agreement"] >= 0.97': BITS,
    "engine/test_sampler.py: "
    "assert sum((o - e) ** 2 / e for o, e in cells) < 29.6  # the 0.1 % point for 10 degrees of freedom": CHANCE,
    'faults/backends.py: socket.create_connection(("192.0.2.1", 80), timeout=1)': "nobody is there, and it is refused",
    "faults/test_limits.py: "
    "with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.2)) as client, suppress(httpx.ReadTimeout):": LEAVES,
    "faults/test_resources.py: pause.wait(0.02)": "between two looks at a process; most of fifty must see it asleep",
    "faults/backends.py: time.sleep(0.02)": "between two looks for a file, in a server",
    "vault/test_identity.py: threading.Event().wait(0.02)  # probes come and go": "that nothing is written in them",
    "engine/exact/test_gguf_experts.py: assert error < 0.08": BITS,
    "engine/exact/test_gguf_experts.py: assert kl < 0.01": BITS,
    "test_kill.py: while not done.wait(0.02):": "between two looks at how many answers are whole",
    "live.py: time.sleep(0.05)": "between two looks of `until`",
    "live.py: process.wait(20)": "a server that does not stop at a test's end is killed",
    'scripted.py: time.sleep(self.number("delay") or 0)': "the model's own pace",
    'scripted.py: time.sleep(script.number("prefill") or 0)': "the model's own pace",
    "service/upstream/engine.py: threading.Event().wait(0.05)": "the pace of an endless answer",
    "service/test_live_server.py: "
    "with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.7)) as client, pytest.raises(httpx.ReadTimeout):": LEAVES,
    "service/test_live_server.py: "
    "with httpx.Client(timeout=httpx.Timeout(GUARD_S, read=0.3)) as client, pytest.raises(httpx.ReadTimeout):": LEAVES,
    "vault/test_kill.py: drain(writer, told, data, timeout_s=0.01)": "a look at what has been said",
    "vault/test_writer.py: threading.Event().wait(0.6)": "that nothing comes can only be waited for",
}


def places() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def is_clock(node: ast.AST) -> bool:
    """A call that reads a clock: `time.monotonic()`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "time"
        and node.func.attr in CLOCKS
    )


def timed_names(tree: ast.AST) -> set[str]:
    """What holds a time, at first hand or later: variables, and functions that return one."""
    names: set[str] = set()
    while True:
        found = set(names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and is_timed(node.value, names):
                found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            elif isinstance(node, ast.Return) and node.value is not None and is_timed(node.value, names):
                found |= {f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and node in ast.walk(f)}
            elif isinstance(node, ast.Call) and is_filled(node, names):
                found.add(node.func.value.id)  # type: ignore[attr-defined]
        if found == names:
            return names
        names = found


def is_timed(node: ast.AST, names: set[str]) -> bool:
    return any(is_clock(part) or (isinstance(part, ast.Name) and part.id in names) for part in ast.walk(node))


def is_filled(node: ast.Call, names: set[str]) -> bool:
    """`took.append(a time)`."""
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in ("append", "add", "extend")
        and isinstance(node.func.value, ast.Name)
        and any(is_timed(argument, names) for argument in node.args)
    )


def is_number(node: ast.AST, *, below: float) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value < below


def is_fraction(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value % 1 != 0


def compares_with_a_fraction(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Compare)
        and any(isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for operator in part.ops)
        and any(map(is_fraction, part.comparators))
        for part in ast.walk(node)
    )


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and rule of each offence."""
    names = timed_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and is_timed(node.test, names):
            yield node.lineno, "asserts a time"
        elif isinstance(node, ast.Assert) and compares_with_a_fraction(node.test):
            yield node.lineno, "asserts a threshold"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node.lineno, "sleeps"
        elif isinstance(node, ast.Call) and is_impatient(node):
            yield node.lineno, "gives up early"


def is_impatient(node: ast.Call) -> bool:
    """A wait with a limit that a busy machine may need."""
    waits = [keyword.value for keyword in node.keywords if keyword.arg in WAITS]
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("wait", "join", "wait_for", "result", "communicate"):
        waits += node.args[:1]
    return any(is_number(value, below=PATIENT_S) for value in waits)


def test_no_test_asserts_a_time_or_a_threshold_of_one_kind_of_cpu() -> None:
    found = {}
    for path, tree in places():
        lines = path.read_text("utf-8").splitlines()
        for number, rule in faults(tree):
            found[f"{path.relative_to(TESTS)}: {lines[number - 1].strip()}"] = rule
    new = {place: rule for place, rule in found.items() if place not in ALLOWED}
    assert new == {}
    assert set(ALLOWED) <= set(found), "an exception that nothing needs"


def test_the_rule_sees_what_it_forbids() -> None:
    source = """
begun = time.monotonic()
took = time.monotonic() - begun
assert took < 3
times = []
times.append(took)
assert sorted(times)[2] < limit
def since(begun): return time.time() - begun
assert since(0) < 5
assert similarity > 0.97
time.sleep(1)
process.wait(10)
get(url, timeout=5)
"""
    rules = [rule for _, rule in faults(ast.parse(source))]
    assert rules == ["asserts a time"] * 3 + ["asserts a threshold", "sleeps"] + ["gives up early"] * 2
