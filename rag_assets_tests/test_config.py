from pathlib import Path

import pytest

from rag_assets.config import find_config, load_config
from rag_assets.config.yaml_files import read_yaml
from rag_assets.errors import ConfigError
from rag_assets.knowledge_base import _weighted

MINIMAL = """
name: handbook
sources:
  - {name: docs, type: files, path: docs}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "set.jsonl").touch()
    file = folder / "knowledge_base.yaml"
    file.write_text(text)
    return file


def test_defaults_and_paths_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.storage == str(tmp_path / ".rag")
    source = config.sources[0]
    assert (source.path, source.acl, source.buckets, source.delete_guard) == (
        str(tmp_path / "docs"),
        ["everyone"],
        16,
        0.2,
    )
    assert source.partitions[0] == "docs:00"
    assert source.partitions[-1] == "docs:15"
    assert config.embedding.precision == "int8"
    assert config.evaluation.gate.floors == {}
    assert config.path == tmp_path / "knowledge_base.yaml"


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    text = """
name: Hand Book
storge: x
sources:
  - {name: docs, type: files, path: nowhere}
  - {name: docs, type: files, path: docs, buckets: "many"}
chunking:
  default: {size: 16, overlap: 99}
evaluation:
  gate: {recall@5: 2, speed: 1}
"""
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(tmp_path / "knowledge_base.yaml") + ": ") for line in lines)
    keys = {line.split(": ")[1] for line in lines}
    assert {"name", "storge", "sources.1.buckets", "chunking.default", "evaluation.gate"} <= keys
    assert "storge: unknown key" in str(caught.value)
    assert "overlap (99) must be smaller than size (16)" in str(caught.value)


def test_dangling_paths_are_refused_with_the_key(tmp_path: Path) -> None:
    text = MINIMAL.replace("path: docs", "path: nowhere") + "evaluation: {sets: [gone.jsonl]}"
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert f"sources.0.path: no such directory: {tmp_path / 'nowhere'}" in str(caught.value)
    assert f"evaluation.sets.0: no such file: {tmp_path / 'gone.jsonl'}" in str(caught.value)


def test_environment_variables_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_TEST_NAME", "fromenv")
    monkeypatch.delenv("RAG_TEST_UNSET", raising=False)
    text = MINIMAL.replace("handbook", "${RAG_TEST_NAME}") + "storage: ${RAG_TEST_UNSET:-here}"
    config = load_config(write(tmp_path, text))
    assert (config.name, config.storage) == ("fromenv", str(tmp_path / "here"))
    with pytest.raises(ConfigError, match=r"storage: the environment variable RAG_TEST_UNSET is"):
        load_config(write(tmp_path, text.replace(":-here", "")))


def test_category_profiles_lie_over_the_default(tmp_path: Path) -> None:
    text = MINIMAL + "chunking: {default: {size: 100}, categories: {post: {size: 64, overlap: 8}}}"
    chunking = load_config(write(tmp_path, text)).chunking
    assert (chunking.profile("post").size, chunking.profile("post").overlap) == (64, 8)
    assert (chunking.profile("other").size, chunking.profile(None).overlap) == (100, 32)


def test_a_category_that_is_no_profile_is_refused(tmp_path: Path) -> None:
    text = MINIMAL + "chunking: {categories: {post: {sise: 64}}}"
    with pytest.raises(ConfigError, match=r"chunking\.categories"):
        load_config(write(tmp_path, text))


def test_which_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAG_CONFIG", raising=False)
    assert find_config() == file
    monkeypatch.setenv("RAG_CONFIG", str(tmp_path / "other.yaml"))
    with pytest.raises(ConfigError, match="no such file"):
        find_config()
    assert find_config(tmp_path) == file


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("colour: red", "colour: unknown key; expected one of canary, chunking,"),
        ("storge: x", "storge: unknown key; did you mean storage?"),
        (
            "retrieval: {rerank: {type: llm, dept: 3}}",
            "retrieval.rerank.dept: unknown key; did you mean depth?",
        ),
        (
            "service: {limits: {usd: 1}}",
            "service.limits.usd: unknown key; expected one of document_b",
        ),
        ("retrieval: {k: five}", "retrieval.k: expected a whole number, found 'five'"),
        ("retrieval: {k: 0}", "retrieval.k: expected a number greater than or equal to 1, found 0"),
        ("retrieval: {k: }", "retrieval.k: expected a whole number, found nothing"),
        ("retrieval: {mode: magic}", "expected 'hybrid', 'dense' or 'lexical', found 'magic'"),
        ("embedding: [a]", "embedding: expected keys with values, found a list"),
        ("llm: {api_key: '${NAME-x}'}", "llm.api_key: '${NAME-x}' names no environment variable"),
        ("name: Hand Book", "name: expected lower-case letters, digits and hyphens"),
        ("name: 5", "name: expected a text, found 5"),
        ("sources: []", "sources: expected at least 1 of them, found none"),
        ("sources: {name: docs}", "sources: expected a list, found keys with values"),
        (
            "sources: [{name: a, path: docs}]",
            "sources.0.type: this key is required; expected one of",
        ),
        (
            "sources: [{name: a, type: folder}]",
            "sources.0.type: expected one of 'files', 'records'",
        ),
        ("sources: [{name: a, type: files}]", "sources.0.path: this key is required"),
        ("sources: [{name: a, type: files, path: docs, includes: []}]", "did you mean include?"),
        (
            "sources: [{name: a, type: files, path: set.jsonl}]",
            "expected a directory, found a file",
        ),
        (
            "sources: [{name: a, type: inbox}, {name: a, type: inbox}]",
            "yaml: sources: the name a is used more than once; each source needs its own",
        ),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(tmp_path: Path, changed: str, told: str) -> None:
    key = changed.partition(":")[0]
    kept = [] if key == "sources" else ["sources: [{name: docs, type: files, path: docs}]"]
    kept += [] if key == "name" else ["name: handbook"]
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "\n".join([*kept, changed])))
    [line] = str(caught.value).splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"name: a\nsources:\n\t- b\n", r"line 3, column 1: .* YAML is indented with spaces"),
        (b"name: a\nname: b\n", "the key 'name' stands in lines 1 and 2"),
        (b"llm: {model: a, model: b}\n", "the key 'model' stands in line 1, twice"),
        (b"a: &a\n  - *a\n  - {b: 1, b: 2}\n", "the key 'b' stands in line 3, twice"),
        (b"# K\xfcche\nname: a\n", "is not UTF-8"),
        (b"a: [\n", "line 2, column 1: expected the node content"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path, data: bytes, told: str) -> None:
    file = tmp_path / "knowledge_base.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=told):
        load_config(file)


def test_keys_that_are_merged_in_may_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("in: {a: &a {x: 1}, b: &b {<<: *a, x: 2}}\nout: {<<: *b, x: 3}\n")
    assert read_yaml(file) == {"in": {"a": {"x": 1}, "b": {"x": 2}}, "out": {"x": 3}}


def test_several_files_are_for_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CONFIG", f"{write(tmp_path, MINIMAL)}:{tmp_path}/other.yaml")
    with pytest.raises(ConfigError, match=r"several files .* --config"):
        find_config()


@pytest.mark.parametrize("text", ["a: [", "- a list", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, text))


def test_mistakes_in_credentials_are_told_without_them(tmp_path: Path) -> None:
    file = tmp_path / "knowledge_base.yaml"
    file.write_text(
        "name: a\nsources: [{name: q, type: queue, queue: d, url: 'http://me:hunter2@host'},"
        " {name: j, type: jira, url: 'https://j', token: 1234567}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert "sources.0.url" in str(caught.value)
    assert "sources.1.token" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "1234567" not in str(caught.value)


def test_credentials_in_the_file_itself_are_told_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RIGHT", "hunter1")
    sources = """sources:
    - {name: a, type: notion, token: hunter2}
    - {name: b, type: notion, token: "${RIGHT}"}
    - {name: c, type: sql, url: "postgresql://me:hunter2@db/app", query: SELECT 1}
    - {name: d, type: sql, url: "postgresql://me:${RIGHT}@db/app", query: SELECT 1}
    - {name: e, type: queue, url: "amqp://localhost/", queue: q}
    - {name: f, type: feed, feeds: [http://x/], http: {headers: {Authorization: Bearer hunter2}}}
    """
    config = load_config(write(tmp_path, "name: kb\n" + sources))
    assert config.literal_credentials == (
        "sources.0.token",
        "sources.2.url",
        "sources.5.http.headers.Authorization",
    )
    assert "sources.0.token: a credential in the file itself; write ${NAME}" in caplog.text
    assert "hunter2" not in caplog.text


def test_weights_of_a_category_are_of_signals(tmp_path: Path) -> None:
    text = MINIMAL + "retrieval: {category_weights: {post: {recency: 0.5}}}\n"
    found = load_config(write(tmp_path, text)).retrieval
    assert _weighted(found, None, None).weights.recency == 0.0
    assert _weighted(found, {"trust": 1}, "post").weights.recency == 0.5
    assert _weighted(found, {"recency": 2}, "post").weights.recency == 2
    with pytest.raises(ConfigError, match="speed"):
        load_config(write(tmp_path, text.replace("recency", "speed")))
