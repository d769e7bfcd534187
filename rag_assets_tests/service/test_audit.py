import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_assets.config import AuditConfig
from rag_assets.errors import StorageError
from rag_assets.service.audit import AuditLog


def log(storage: Path, **settings: object) -> AuditLog:
    return AuditLog(storage, AuditConfig(**settings))


def newest(storage: Path) -> Path:
    return sorted((storage / "service/audit").glob("*.jsonl"))[-1]


def lines(storage: Path) -> list[dict]:
    files = sorted((storage / "service/audit").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_lines_are_numbered_and_chained(tmp_path: Path) -> None:
    first = log(tmp_path)
    for number in range(3):
        first.append({"request_id": f"r{number}", "status": 200})
    log(tmp_path).append({"request_id": "r3", "text": "a\r\n\u2028line \ud800 é"})
    found = lines(tmp_path)
    assert [(row["number"], row["request_id"]) for row in found] == [
        (1, "r0"),
        (2, "r1"),
        (3, "r2"),
        (4, "r3"),
    ]
    assert len({row["hash"] for row in found}) == 4
    verdict = log(tmp_path).verify()
    assert (verdict.files, verdict.lines, verdict.problem) == (1, 4, None)


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    assert log(tmp_path).verify().problem is None


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (lambda rows: [rows[0].replace("200", "500"), *rows[1:]], "line 1: was changed"),
        (lambda rows: [rows[0], *rows[2:]], "line 2: is number 3, expected 2"),
        (lambda rows: [rows[1], rows[0], rows[2]], "line 1: is number 2, expected 1"),
        (lambda rows: [*rows[:2], '{"a": 1}'], "line 3: is not a line of the log"),
        (lambda rows: rows[:1], "names line 3, the log ends with line 1: lines were cut off"),
        (lambda rows: [*rows, rows[-1]], "line 4: is number 3, expected 4"),
    ],
)
def test_tampering_is_found(tmp_path: Path, tamper, problem: str) -> None:
    for number in range(3):
        log(tmp_path).append({"request_id": f"r{number}", "status": 200})
    file = newest(tmp_path)
    file.write_text("\n".join(tamper(file.read_text().splitlines())) + "\n")
    assert problem in log(tmp_path).verify().problem


def test_with_a_key_the_chain_cannot_be_computed_anew(tmp_path: Path) -> None:
    log(tmp_path, key="secret").append({"status": 200})
    assert log(tmp_path, key="secret").verify().problem is None
    forged = tmp_path / "forged"
    log(forged).append({"status": 500})
    newest(tmp_path).write_bytes(newest(forged).read_bytes())
    assert "was changed" in log(tmp_path, key="secret").verify().problem


def test_days_past_are_removed_and_the_chain_still_holds(tmp_path: Path) -> None:
    log(tmp_path).append({"day": "old"})
    log(tmp_path).append({"day": "old"})
    kept = datetime.now(UTC).date() - timedelta(days=2)
    old = kept - timedelta(days=1)
    newest(tmp_path).rename(tmp_path / f"service/audit/{old.isoformat()}.jsonl")
    log(tmp_path, keep_days=2).append({"day": "today"})
    assert [row["day"] for row in lines(tmp_path)] == ["today"]
    verdict = log(tmp_path).verify()
    assert (verdict.lines, verdict.problem) == (1, None)
    newest(tmp_path).rename(tmp_path / f"service/audit/{kept.isoformat()}.jsonl")
    log(tmp_path, keep_days=2).append({"day": "today"})
    assert log(tmp_path).verify().lines == 2
    newest(tmp_path).write_text("")
    assert "were cut off" in log(tmp_path).verify().problem


def test_a_torn_last_line_is_dropped_by_the_next(tmp_path: Path) -> None:
    log(tmp_path).append({"request_id": "r0"})
    with newest(tmp_path).open("a") as file:
        file.write('{"request_id": "half')
    log(tmp_path).append({"request_id": "r1"})
    assert [row["request_id"] for row in lines(tmp_path)] == ["r0", "r1"]
    assert log(tmp_path).verify().problem is None


def test_a_line_longer_than_any_other_is_followed(tmp_path: Path) -> None:
    log(tmp_path).append({"filters": {"where": {"team": "ä" * 190_000}}})  # 1.1 MB, escaped
    log(tmp_path).append({"request_id": "after"})
    with newest(tmp_path).open("ab") as file:
        file.write(b'{"number": 3, "torn": "' + b"x" * 1_100_000)
    log(tmp_path).append({"request_id": "last"})
    assert [row["number"] for row in lines(tmp_path)] == [1, 2, 3]
    assert log(tmp_path).verify().problem is None


def test_a_kill_between_line_and_head_is_no_tampering(tmp_path: Path) -> None:
    log(tmp_path).append({"request_id": "r0"})
    head = (tmp_path / "service/audit/HEAD").read_bytes()
    log(tmp_path).append({"request_id": "r1"})
    (tmp_path / "service/audit/HEAD").write_bytes(head)
    assert log(tmp_path).verify().problem is None


def _append_many(storage: Path, name: str) -> None:
    own = log(storage)
    for number in range(200):
        own.append({"worker": name, "count": number})


def test_several_workers_write_one_chain(tmp_path: Path) -> None:
    # The lock belongs to who opened the file: threads exclude each other as processes do.
    workers = [threading.Thread(target=_append_many, args=(tmp_path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    verdict = log(tmp_path).verify()
    assert (verdict.lines, verdict.problem) == (400, None)
    for name in "ab":
        counts = [row["count"] for row in lines(tmp_path) if row["worker"] == name]
        assert counts == list(range(200))


def test_questions_are_kept_as_text_or_as_their_hash(tmp_path: Path) -> None:
    assert log(tmp_path).question("How?") == {"question": "How?"}
    hashed = log(tmp_path, questions="hash").question("How?")
    assert list(hashed) == ["question_sha256"]
    assert len(hashed["question_sha256"]) == 64


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "service").write_text("in the way")
    with pytest.raises(StorageError, match="the audit log cannot be written"):
        log(tmp_path).append({})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(st.text(min_size=1), JSON, max_size=4), min_size=1, max_size=4))
def test_whatever_is_written_verifies(tmp_path_factory, records: list[dict]) -> None:
    storage = tmp_path_factory.mktemp("audit")
    own = log(storage)
    for record in records:
        own.append({f"x{key}": value for key, value in record.items()})
    assert log(storage).verify().problem is None
