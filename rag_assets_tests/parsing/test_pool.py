import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag_assets.parsing import Parsed, ParseLimits, ParseTask, Problem, parse, parse_many
from rag_assets_tests.parsing import samples

PDF = samples.pdf([["From a child."]])


def task(name, data=None, path=None):
    return ParseTask(name, path, data, name)


def test_small_text_files_start_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    tasks = [task(f"{i}.md", b"# Title %d" % i) for i in range(500)]
    results = list(parse_many(tasks))
    assert [name for name, _ in results] == [item.task_id for item in tasks]
    assert results[7][1].title == "Title 7"


def test_nothing_to_do_is_done():
    assert list(parse_many([])) == []


def test_bytes_and_paths_give_the_same(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(PDF)
    results = dict(
        parse_many([ParseTask("a", path, None, "x.pdf"), ParseTask("b", None, PDF, "x.pdf")])
    )
    assert results["a"] == results["b"]
    assert results["a"].text == "From a child."


def test_every_kind_of_result_survives_the_way_back():
    data = samples.presentation()
    ((_, from_child),) = parse_many([task("a.pptx", data)])
    assert isinstance(from_child, Parsed)
    assert from_child == parse(data, "a.pptx")


def test_results_come_while_more_documents_are_still_to_come():
    waiting = iter([task(f"{i}.pdf", PDF) for i in range(50)])
    results = parse_many(waiting, ParseLimits(workers=1))
    next(results)
    assert len(list(waiting)) > 40


def test_a_child_is_replaced_after_its_share_of_documents():
    limits = ParseLimits(workers=2, tasks_per_worker=1)
    results = dict(parse_many([task(f"{i}.pdf", PDF) for i in range(6)], limits))
    assert {result.text for result in results.values()} == {"From a child."}
    assert len(results) == 6


def test_a_child_that_dies_is_a_crash():
    others = _children()

    def tasks():
        yield task("crash.pdf", samples.HANGING_PDF)
        (child,) = _children() - others
        os.kill(int(child), signal.SIGSEGV)
        yield task("good.pdf", PDF)

    results = dict(parse_many(tasks(), ParseLimits(workers=2)))
    assert results["crash.pdf"].reason == "crashed"
    assert results["crash.pdf"].message == "its parser died (SIGSEGV)"
    assert results["good.pdf"].text == "From a child."


def test_a_child_without_memory_says_so():
    limits = ParseLimits(memory=30 << 20)  # too little to import a parser
    ((_, result),) = parse_many([task("a.pdf", PDF)], limits)
    assert result.reason == "out_of_memory"


def test_a_document_over_its_time_is_killed_and_the_next_one_parsed():
    limits = ParseLimits(seconds=1, workers=1)
    tasks = [task("hang.pdf", samples.HANGING_PDF), task("good.pdf", PDF)]
    results = list(parse_many(tasks, limits))
    assert [name for name, _ in results] == ["hang.pdf", "good.pdf"]
    assert results[0][1].reason == "timeout"
    assert results[0][1].message == "its parser did not finish within 1 s and was killed"
    assert results[1][1].text == "From a child."


def test_a_file_above_the_limit_is_not_even_read(tmp_path):
    path = tmp_path / "huge.pdf"
    with open(path, "wb") as file:
        file.truncate(2 << 30)
    ((_, result),) = parse_many([task("huge.pdf", path=path)])
    assert result == Problem("too_large", "it has 2048 MiB, the limit is 256 MiB", 0.0)


def test_a_large_file_of_words_goes_to_a_child(tmp_path):
    path = tmp_path / "large.txt"
    path.write_text("word " * 300_000)
    ((_, result),) = parse_many([task("large.txt", path=path)])
    assert len(result.text) == 300_000 * 5 - 1


def test_what_cannot_be_read_is_a_problem(tmp_path):
    tasks = [task("gone.md", path=tmp_path / "gone.md"), task("neither.md")]
    results = dict(parse_many(tasks))
    assert [results[item.task_id].reason for item in tasks] == ["unreadable", "unreadable"]


def test_leaving_early_ends_the_children():
    others = _children()
    results = parse_many([task(f"{i}.pdf", PDF) for i in range(20)], ParseLimits(workers=2))
    next(results)
    children = _children() - others
    assert children
    results.close()
    assert not children & _children()


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_script_without_a_main_guard_may_use_the_pool(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from rag_assets.parsing import ParseTask, parse_many\n"
        "from rag_assets_tests.parsing.samples import pdf\n"
        "print('begin')\n"
        "((_, r),) = parse_many([ParseTask('a', None, pdf([['Hello.']]), 'a.pdf')])\n"
        "print(r.text)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout == "begin\nHello.\n"


def _pdfs_of_the_shared_data() -> list[Path]:
    folder = os.environ.get("RAG_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data"
    return sorted(Path(folder, "pdfs").glob("**/*.pdf"))


@pytest.fixture(scope="module")
def shared_pdfs():
    return dict(parse_many(task(str(path), path=path) for path in _pdfs_of_the_shared_data()))


@pytest.mark.parametrize("path", _pdfs_of_the_shared_data(), ids=lambda path: path.name)
def test_real_pdfs(path, shared_pdfs):
    result = shared_pdfs[str(path)]
    if isinstance(result, Problem):
        images = ("image", "imagemagick")
        wanted = {
            "libreoffice-writer-password.pdf": {"encrypted"},
            "unreadablemetadata.pdf": {"damaged"},
        }.get(path.name, {"no_text", "missing_tool"} if any(i in path.name for i in images) else ())
        assert result.reason in wanted, result
        return
    assert result.text.strip()
    assert result.metadata["pages"] >= len(result.pages) >= 1
    for page in result.pages:
        assert 0 <= page.start < len(result.text)
