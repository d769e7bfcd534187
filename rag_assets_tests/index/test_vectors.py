from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rag_assets.errors import StorageError
from rag_assets.index.dense import DenseIndex
from rag_assets.index.vectors import SealedVectors

IDS = [f"c{n:03d}" for n in range(300)]


def unit_vectors(seed, count):
    vectors = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["cosine", "l2", "ip"])
def sealed(request, tmp_path_factory):
    """300 vectors, of which 50 were deleted and 20 replaced before sealing."""
    directory = tmp_path_factory.mktemp(request.param)
    index = DenseIndex.create(directory, request.param)
    index.add(IDS, unit_vectors(0, 300))
    index.delete(IDS[:50])
    index.delete(IDS[50:70])
    index.add([f"{chunk_id}-new" for chunk_id in IDS[50:70]], unit_vectors(1, 20))
    index.seal()
    return directory, request.param


def test_agrees_with_chroma_on_every_held_id(sealed):
    directory, space = sealed
    vectors = SealedVectors.open(directory, space, 16)
    with closing(DenseIndex.open(directory, space)) as index:
        held = sorted(index.ids())
        for query in unit_vectors(2, 5):
            wanted = index.query(query, len(held))
            found = vectors.nearest(query, len(held), held)
            assert {chunk_id for chunk_id, _ in found} == {chunk_id for chunk_id, _ in wanted}
            assert dict(found) == pytest.approx(dict(wanted), abs=1e-5)
            assert [score for _, score in found] == sorted(dict(found).values(), reverse=True)
            some = held[::7]
            assert vectors.nearest(query, 3, some) == [hit for hit in found if hit[0] in some][:3]


def test_deleted_and_unknown_ids_are_ignored(sealed):
    directory, space = sealed
    vectors = SealedVectors.open(directory, space, 16)
    assert vectors.nearest(unit_vectors(3, 1)[0], 5, [IDS[0], "nothing"]) == []
    assert [hit[0] for hit in vectors.nearest(unit_vectors(3, 1)[0], 5, [IDS[0], IDS[99]])] == [
        IDS[99]
    ]


def test_ties_are_ordered_by_id(tmp_path):
    index = DenseIndex.create(tmp_path, "cosine")
    index.add(IDS[::-1], np.repeat(unit_vectors(0, 1), 300, axis=0))
    index.seal()
    vectors = SealedVectors.open(tmp_path, "cosine", 16)
    assert [hit[0] for hit in vectors.nearest(unit_vectors(4, 1)[0], 4, IDS[100:])] == IDS[100:104]


def test_stored_vectors_are_given_back(sealed):
    directory, space = sealed
    vectors = SealedVectors.open(directory, space, 16)
    assert np.allclose(
        vectors.vectors([IDS[100], IDS[299]]), unit_vectors(0, 300)[[100, 299]], atol=1e-6
    )


def test_an_index_without_vectors_has_none(tmp_path):
    DenseIndex.create(tmp_path, "cosine").close()
    assert SealedVectors.open(tmp_path, "cosine", 16) is None


def test_another_dimension_is_refused(sealed):
    directory, space = sealed
    with pytest.raises(StorageError, match="not an HNSW file of format 1 and 17 dimensions"):
        SealedVectors.open(directory, space, 17)


def test_nothing_of_the_memory_around_it_is_written_with_an_index(tmp_path: Path) -> None:
    secret = np.full((400, 8), 7.25, np.float32)
    other = DenseIndex.create(tmp_path / "other", "cosine")
    other.add([f"secret{i}" for i in range(400)], secret)
    other.seal()
    index = DenseIndex.create(tmp_path / "chroma", "cosine")
    index.add(["a", "b", "c"], np.eye(3, 8, dtype=np.float32))
    index.seal()
    [records] = (tmp_path / "chroma").glob("*/data_level0.bin")
    size = len(records.read_bytes()) // 100  # room for a hundred records
    assert not any(records.read_bytes()[3 * size :])
    assert not any((records.parent / "length.bin").read_bytes()[3 * 4 :])
    again = DenseIndex.open(tmp_path / "chroma", "cosine")
    assert again.query(np.eye(3, 8, dtype=np.float32)[1], 1)[0][0] == "b"
    again.close()
