import shutil
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_assets.errors import StorageError
from rag_assets.index import build as build_module
from rag_assets.index.build import LEXICAL
from rag_assets.index.checks import check_integrity, differences
from rag_assets.index.dense import DenseIndex
from rag_assets.index.homes import CHROMA
from rag_assets.index.lexical import LexicalIndex
from rag_assets.index.passages import PassageStore
from rag_assets.index.versions import Versions
from rag_assets_tests.index.conftest import MODEL, build, publish, vector, wanted

CONTENT = {f"d{i}": [f"text {i} {j}" for j in range(3)] for i in range(20)}


def held(versions: Versions, version: int) -> dict[str, object]:
    """Everything a version holds, read from its own stores."""
    directory = versions.directory(version)
    with (
        closing(DenseIndex.open(directory / CHROMA, "cosine")) as dense,
        closing(LexicalIndex.open(directory / LEXICAL)) as lexical,
        closing(PassageStore.open(directory)) as passages,
    ):
        ids = passages.chunk_ids()
        return {
            "passages": {p.chunk_id: (p.doc_id, p.text, p.start) for p in passages.passages(ids)},
            "documents": sorted(passages.document_states().rows()),
            "vectors": {i: v.round(5).tolist() for i, v in dense.vectors(ids).items()},
            "lexical": sorted(lexical.ids()),
        }


def test_a_patched_copy_equals_a_build_from_nothing(versions: Versions, tmp_path) -> None:
    publish(versions, CONTENT)
    changed = {k: v for k, v in CONTENT.items() if k != "d3"}
    changed |= {"d5": ["one", *CONTENT["d5"][1:]], "new": ["fresh text"]}
    patched = build(versions, changed)
    assert (patched.parent, patched.added_since_rebuild) == (1, 2)
    other = Versions(tmp_path / "other")
    clean = build(other, changed)
    assert clean.added_since_rebuild == 0
    assert held(versions, patched.version) == held(other, clean.version)
    assert patched.chunk_ids_digest == clean.chunk_ids_digest
    assert check_integrity(versions, patched.version, MODEL).passed


def test_kept_chunks_are_searched_by_their_new_title_and_headings(versions: Versions) -> None:
    publish(versions, CONTENT)
    renamed = build(versions, CONTENT, titles={"d5": "umbrella"})
    with closing(LexicalIndex.open(versions.directory(renamed.version) / LEXICAL)) as lexical:
        found = {chunk_id for chunk_id, _ in lexical.search("umbrella", 10)}
        assert found == {p for p in lexical.ids() if p in ids_of("d5")}
        assert len(found) == 3
        assert lexical.search("d5", 10) == []
        assert lexical.count() == 60


def ids_of(doc_id: str) -> set[str]:
    chunks = wanted(CONTENT).chunks.collect()
    return set(chunks.filter(chunks["doc_id"] == doc_id)["chunk_id"])


def test_the_parent_is_left_untouched(versions: Versions) -> None:
    publish(versions, CONTENT)
    before = held(versions, 1)
    build(versions, {"only": ["this"]})
    assert held(versions, 1) == before


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.dictionaries(
            st.sampled_from("abcde"),
            st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=4, unique=True),
            min_size=1,
        ),
        min_size=2,
        max_size=4,
    )
)
def test_any_chain_of_edits_ends_where_a_clean_build_does(steps, tmp_path) -> None:
    root = tmp_path / str(np.random.default_rng().integers(1 << 60))
    versions = Versions(root / "chain")
    for content in steps:
        publish(versions, content)
    clean = Versions(root / "clean")
    publish(clean, steps[-1])
    assert held(versions, len(steps)) == held(clean, 1)
    assert differences(versions, len(steps)) == []
    shutil.rmtree(root)


def test_much_churn_rebuilds(versions: Versions) -> None:
    publish(versions, CONTENT)
    few = publish(versions, {**CONTENT, "d1": ["a", "b", "c"]})
    assert few.added_since_rebuild == 3
    many = publish(versions, {**CONTENT, **{f"d{i}": [f"other {i}"] for i in range(15)}})
    assert many.added_since_rebuild == 0


def test_another_model_rebuilds_every_vector(versions: Versions) -> None:
    publish(versions, CONTENT)
    manifest = build(versions, CONTENT, model="model-b")
    assert (manifest.model, manifest.added_since_rebuild) == ("model-b", 0)
    assert not check_integrity(versions, manifest.version, MODEL).passed
    assert check_integrity(versions, manifest.version, "model-b").passed


def test_a_full_disk_leaves_the_live_version_and_no_rest(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(versions, CONTENT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_module, "_flush_to_disk", full)
    with pytest.raises(
        StorageError, match=r"No space left on device\); the live version is unchanged"
    ):
        build(versions, {"only": ["this"]})
    assert versions.numbers() == [1]
    assert versions.live().version == 1


@pytest.mark.parametrize("store", ["chroma", "vectors", "lexical", "passages"])
def test_integrity_sees_damage_in_every_store(versions: Versions, store: str) -> None:
    publish(versions, CONTENT)
    directory = versions.directory(1)
    victim = wanted(CONTENT).manifest["chunk_id"][0]
    if store in ("chroma", "vectors"):
        dense = DenseIndex.open(directory / CHROMA, "cosine")
        dense.delete([victim])
        dense.seal()
    elif store == "lexical":
        with closing(LexicalIndex.open(directory / LEXICAL)) as lexical:
            lexical.delete([victim])
            lexical.commit()
    else:
        with closing(PassageStore.open(directory, writable=True)) as passages:
            passages.delete_documents(["d0"])
    assert store in {difference.store for difference in differences(versions, 1)}
    outcome = check_integrity(versions, 1, MODEL)
    assert not outcome.passed
    assert "1 missing" in outcome.summary or "3 missing" in outcome.summary


def test_a_query_finds_its_own_chunk(versions: Versions) -> None:
    publish(versions, CONTENT)
    directory = versions.directory(1)
    row = wanted(CONTENT).manifest.row(5, named=True)
    with closing(DenseIndex.open(directory / CHROMA, "cosine")) as dense:
        [(chunk_id, similarity)] = dense.query(vector(row["text_key"]), 1)
    assert chunk_id == row["chunk_id"]
    assert similarity == pytest.approx(1.0, abs=1e-4)
