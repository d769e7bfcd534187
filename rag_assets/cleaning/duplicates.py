"""Texts that say the same: equal ones and near-equal ones, found by MinHash.

A text is known by its sketch, so that any number of documents can be compared without their texts.
Source: Broder 1997, on the resemblance and containment of documents: 128 permutations, word
3-grams. Li and König 2010, b-bit minwise hashing: the lowest 8 bits of each hash are kept.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import polars as pl

ALIKE = 0.8  # resemblance from which two texts are one
_PERMUTATIONS = 128
_ROWS = 6  # hashes in a band; 21 bands: two texts of resemblance 0.8 share one with 0.998
_BANDS = _PERMUTATIONS // _ROWS
_MOST = 64  # leaders compared for one band; more only where thousands of texts are much alike
_CHANCE = 1 / 256  # that 8 bits of two different hashes are equal
_SEED = 42
_WORDS = 3  # in a shingle
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def sketch(text: str) -> bytes:
    """128 bytes that resemble those of another text as the texts do."""
    from rensa import RMinHash

    signature = RMinHash(_PERMUTATIONS, _SEED)
    signature.update(_shingles(text))
    return np.array(signature.digest(), dtype=np.uint64).astype(np.uint8).tobytes()


def resemblance(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Estimated Jaccard index of a sketch uint8 (128,) and others uint8 (n, 128): float (n,)."""
    equal = (others == one).mean(axis=1)
    return np.asarray((equal - _CHANCE) / (1 - _CHANCE))


def near_duplicates(
    sketches: Iterable[tuple[str, bytes]], *, threshold: float = ALIKE
) -> list[tuple[str, ...]]:
    """Groups of ids whose texts resemble the group's first by at least `threshold`.

    sketches: (id, sketch) in the order in which they may lead a group. A text belongs to the first
    leader it resembles, so that likeness does not travel from text to text.
    """
    named = list(sketches)
    if not named:
        return []
    rows = np.frombuffer(b"".join(data for _, data in named), np.uint8).reshape(len(named), -1)
    first, copies = _equal_rows(rows)
    leaders = _leaders(rows[first], threshold)
    groups: dict[int, list[int]] = defaultdict(list)
    for place, leader in enumerate(leaders):
        groups[leader] += copies[place]
    return [
        tuple(named[place][0] for place in sorted(members))
        for _, members in sorted(groups.items())
        if len(members) > 1
    ]


def _equal_rows(rows: np.ndarray) -> tuple[list[int], list[list[int]]]:
    """The first place of each different row in order, and all places where it stands."""
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.tobytes(), []).append(place)
    copies = list(places.values())
    return [found[0] for found in copies], copies


def _leaders(rows: np.ndarray, threshold: float) -> list[int]:
    """The place of each row's leader, which is its own where it resembles no earlier one."""
    keys, shared = _band_keys(rows)
    leading: dict[int, list[int]] = defaultdict(list)
    found = list(range(len(rows)))
    for place in np.flatnonzero(shared.any(axis=1)).tolist():
        mine = keys[place][shared[place]].tolist()
        candidates = sorted({leader for key in mine for leader in leading[key][:_MOST]})
        if candidates:
            alike = resemblance(rows[place], rows[candidates]) >= threshold
            if alike.any():
                found[place] = candidates[int(alike.argmax())]
                continue
        for key in mine:
            leading[key].append(place)
    return found


def _band_keys(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The key of every band: uint64 (n, bands); and whether another row has it: bool (n, bands)."""
    bands = rows[:, : _BANDS * _ROWS].reshape(len(rows), _BANDS, _ROWS)
    keys = np.zeros((len(rows), _BANDS), np.uint64)
    for place in range(_ROWS):
        keys = (keys << np.uint64(8)) | bands[:, :, place]
    keys |= np.arange(_BANDS, dtype=np.uint64) << np.uint64(8 * _ROWS)
    shared = pl.Series(keys.ravel()).is_duplicated().to_numpy()
    return keys, shared.reshape(keys.shape)


def _shingles(text: str) -> list[str]:
    """Every three words in a row; in scripts without spaces every character counts as a word."""
    words = _WORD.findall(_UNSPACED.sub(r" \g<0> ", text.casefold()))
    if len(words) < _WORDS:
        return [" ".join(words)]
    return [" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)]
