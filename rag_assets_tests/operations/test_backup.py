"""Restore drills: everything lost and restored; all indexes lost and made again for nothing."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rag_assets.cli import operations_commands as commands
from rag_assets.costs.ledger import Ledger
from rag_assets.defs.execute import Refresher, dagster_instance
from rag_assets.errors import BadRequest, StorageError
from rag_assets.index.versions import Versions
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.operations.backup import back_up, restore, restore_storage
from rag_assets.refresh.pipeline import Options
from rag_assets.service.keys import KeyStore
from rag_assets_tests.conftest import SUBJECTS, SmallBase
from rag_assets_tests.mirror.conftest import bucket, server
from rag_assets_tests.sources import moto_server

__all__ = ["bucket", "server"]

QUESTIONS = [f"Who answers requests concerning {subject}?" for subject in SUBJECTS[:4]]


@pytest.fixture
def filled(small: SmallBase) -> SmallBase:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@5": 0.5, "min_queries": 3})
    small.refresh()
    return small


def answers(base: SmallBase) -> list[dict[str, Any]]:
    with KnowledgeBase(base.configure()) as knowledge:
        found = [knowledge.answer(question).as_json() for question in QUESTIONS]
    return [{k: v for k, v in answer.items() if k != "timings"} for answer in found]


def test_all_is_lost_and_restored_and_answers_are_the_same(
    filled: SmallBase, tmp_path: Path
) -> None:
    config = filled.configure()
    key, _ = KeyStore.at(config.storage).create("team", groups=[])
    expected = answers(filled)
    archive = tmp_path / "kb.tar"
    with KnowledgeBase(config) as open_meanwhile:
        made = back_up(config, str(archive))
        assert open_meanwhile.search("payroll").index_version == 1
    assert (made.knowledge_base, made.live_version) == ("small", 1)
    with pytest.raises(BadRequest, match="never overwritten"):
        back_up(config, str(archive))

    shutil.rmtree(config.storage)
    assert restore_storage(str(archive), config) == made
    assert answers(filled) == expected
    assert [found.id for found in KeyStore.at(config.storage).all_keys()] == [key.id]
    receipt = filled.refresh()
    assert receipt["documents"]["unchanged"] == 4
    assert receipt["embeddings"]["computed"] == 0
    assert not receipt["promoted"]
    with pytest.raises(BadRequest, match="is not empty"):
        restore_storage(str(archive), config)


def test_the_whole_folder_is_lost_documents_and_history_of_runs_included(
    small: SmallBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@5": 0.5, "min_queries": 3})
    config = small.configure()
    with dagster_instance(config) as instance:
        Refresher(config, instance).refresh(Options())
        runs = [(run.run_id, run.status) for run in instance.get_runs()]
    assert len(runs) == 1
    expected = answers(small)
    archive = tmp_path / "kb.tar"
    back_up(config, str(archive))

    shutil.rmtree(small.root)
    restore(str(archive), tmp_path / "restored")
    small.documents.mkdir(parents=True)
    shutil.copy(tmp_path / "restored/config/knowledge_base.yaml", small.path)
    sets = tmp_path / "restored/config/eval_sets/0"
    shutil.copytree(sets, small.root, dirs_exist_ok=True)
    (tmp_path / "restored/storage").rename(small.root / "store")
    assert answers(small) == expected
    monkeypatch.setenv("DAGSTER_HOME", "")
    with dagster_instance(small.configure()) as instance:
        assert [(run.run_id, run.status) for run in instance.get_runs()] == runs
        receipt = Refresher(small.configure(), instance).refresh(Options())
    assert receipt["documents"]["held"] == 4, "an empty folder deletes nothing"
    assert [a["text"] for a in answers(small)] == [a["text"] for a in expected]


def test_a_backup_is_restored_elsewhere_without_a_configuration(
    filled: SmallBase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "kb.tar"
    commands.backup(str(archive), config=filled.path)
    elsewhere = tmp_path / "elsewhere"
    commands.restore(str(archive), to=elsewhere)
    assert "small of " in capsys.readouterr().out
    assert (elsewhere / "config" / "knowledge_base.yaml").read_bytes() == filled.path.read_bytes()
    questions = elsewhere / "config" / "eval_sets" / "0" / "questions.jsonl"
    assert questions.read_text() == (filled.root / "questions.jsonl").read_text()
    expected = answers(filled)
    filled.configure(storage=str(elsewhere / "storage"))
    assert answers(filled) == expected


def test_all_indexes_are_lost_and_made_again_with_no_embedding_paid(filled: SmallBase) -> None:
    config = filled.configure()
    expected = [(a["text"], a["citations"]) for a in answers(filled)]
    shutil.rmtree(Versions(config.storage).root)
    receipt = filled.refresh()
    assert receipt["promoted"]
    assert receipt["embeddings"]["computed"] == 0
    assert [(a["text"], a["citations"]) for a in answers(filled)] == expected
    embedded = [e for e in Ledger(config.storage).days() if e.kind == "embedding"]
    assert sum(entry.usd for entry in embedded) == 0


def test_a_damaged_a_cut_off_and_a_foreign_file_are_refused_and_leave_nothing(
    filled: SmallBase, tmp_path: Path
) -> None:
    archive = tmp_path / "kb.tar"
    back_up(filled.configure(), str(archive))
    data = archive.read_bytes()
    with tarfile.open(archive) as opened:
        name = next(m for m in opened.getnames() if m.endswith("manifest.parquet"))
        place = opened.getmember(name).offset_data
    broken = tmp_path / "broken.tar"
    target = tmp_path / "target"
    for content, said in (
        (data[:place] + bytes(4) + data[place + 4 :], "manifest.parquet is not what"),
        (data[: len(data) // 2], "no whole backup"),
        (b"x" * 20_000, "no whole backup"),
    ):
        broken.write_bytes(content)
        with pytest.raises(StorageError, match=said):
            restore(str(broken), target)
        assert not target.exists()
    with pytest.raises(BadRequest, match="no such file"):
        restore(str(tmp_path / "nothing.tar"), target)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_backup_in_a_bucket(
    filled: SmallBase, server: str, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the section `s3` of the configuration, and without one through the environment."""
    config = filled.configure(s3=moto_server.settings(server))
    expected = answers(filled)
    archive = "s3://storage/backups/kb.tar"
    made = back_up(config, archive)
    [found] = bucket.list_objects_v2(Bucket="storage")["Contents"]
    assert found["Key"] == "backups/kb.tar"
    with pytest.raises(BadRequest, match="never overwritten"):
        back_up(config, archive)
    shutil.rmtree(config.storage)
    assert restore_storage(archive, config) == made
    assert answers(filled) == expected
    for name, value in {
        "AWS_ACCESS_KEY_ID": moto_server.KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": moto_server.KEYS["aws_secret_access_key"],
        "AWS_ENDPOINT_URL": server,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert restore(archive, tmp_path / "elsewhere") == made
    with pytest.raises(BadRequest, match="no such file"):
        restore("s3://storage/backups/other.tar", tmp_path / "nowhere")
    with pytest.raises(BadRequest, match="names no file"):
        back_up(config, "s3://storage")
    with pytest.raises(StorageError, match="cannot be written"):
        back_up(config, "s3://no-such-bucket/kb.tar")


def test_an_interrupted_backup_leaves_no_file(
    filled: SmallBase, server: str, bucket: Any, tmp_path: Path
) -> None:
    config = filled.configure(s3=moto_server.settings(server))
    (Path(config.storage) / "zz-large").write_bytes(bytes(12_000_000))  # more than one part
    broken = Path(config.storage) / "zzz.sqlite"
    broken.write_bytes(b"SQLite format 3\x00" + b"no more than that")
    for target in ("s3://storage/kb.tar", str(tmp_path / "backups" / "kb.tar")):
        (tmp_path / "backups").mkdir(exist_ok=True)
        with pytest.raises(StorageError, match=r"zzz\.sqlite: cannot be copied"):
            back_up(config, target)
    assert "Contents" not in bucket.list_objects_v2(Bucket="storage")
    assert list((tmp_path / "backups").iterdir()) == []
    broken.unlink()
    assert back_up(config, str(tmp_path / "backups" / "kb.tar")).bytes > 12_000_000
    with pytest.raises(BadRequest, match="inside of what is backed up"):
        back_up(config, str(Path(config.storage) / "kb.tar"))


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    (tmp_path / "x").write_text("x")
    for name in ("../outside", "storage/../../outside", "/etc/outside", "other/x"):
        with tarfile.open(archive, "w") as made:
            made.add(tmp_path / "x", name)
        with pytest.raises(StorageError, match="no name that a backup has"):
            restore(str(archive), tmp_path / "target")


def test_refused_versions_stay_out_and_another_base_is_not_overwritten(
    filled: SmallBase, tmp_path: Path
) -> None:
    filled.ask_about(list(SUBJECTS[:4]), **{"recall@5": 1.0, "recall@1": 1.0, "min_queries": 3})
    for subject in SUBJECTS[:3]:
        filled.write(f"{subject}.md", "# Nothing\n\nLorem ipsum dolor sit amet.\n")
    assert not filled.refresh()["promoted"]
    archive = tmp_path / "kb.tar"
    back_up(filled.configure(), str(archive))
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert any(name.startswith("storage/index/000001/") for name in names)
    assert not any(name.startswith("storage/index/000002/") for name in names)
    assert "storage/index/LIVE.json" in names
    config = filled.configure(name="another", storage="./another")
    with pytest.raises(BadRequest, match="is a backup of 'small'"):
        restore_storage(str(archive), config)
    assert not Path(config.storage).exists()
