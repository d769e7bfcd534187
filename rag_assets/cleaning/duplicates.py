"""Texts that say the same: equal ones and near-equal ones, found by MinHash.

Source: Broder 1997, on the resemblance and containment of documents; 128 permutations, estimated
resemblance of word 3-grams.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rensa import RMinHash

_PERMUTATIONS = 128
_BANDS = 32  # of 4: a pair of resemblance 0.8 shares one with probability 0.99999, of 0.3 with 0.23
_SEED = 42
_WORDS = 3  # in a shingle
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def near_duplicates(
    texts: Iterable[tuple[str, str]], *, threshold: float = 0.8
) -> list[tuple[str, ...]]:
    """Groups of ids whose texts resemble the group's first by at least `threshold`.

    texts: (id, text) in the order in which they may lead a group. A text belongs to the first
    leader it resembles, so that likeness does not travel from text to text. Texts too short to
    compare (fewer than three words) only group with equal ones.
    """
    from rensa import RMinHashLSH

    index = RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)
    leaders: list[RMinHash] = []
    groups: list[list[str]] = []
    short: dict[str, int] = {}
    for identity, text in texts:
        shingles = _shingles(text)
        if len(shingles) == 1:
            place = short.setdefault(shingles[0], len(groups))
            if place == len(groups):
                groups.append([])
                leaders.append(_signature(shingles))
            groups[place].append(identity)
            continue
        signature = _signature(shingles)
        alike = [
            candidate
            for candidate in sorted(index.query(signature))
            if leaders[candidate].jaccard(signature) >= threshold
        ]
        if alike:
            groups[alike[0]].append(identity)
            continue
        index.insert(len(groups), signature)
        leaders.append(signature)
        groups.append([identity])
    return [tuple(group) for group in groups if len(group) > 1]


def _signature(shingles: list[str]) -> "RMinHash":
    from rensa import RMinHash

    signature = RMinHash(_PERMUTATIONS, _SEED)
    signature.update(shingles)
    return signature


def _shingles(text: str) -> list[str]:
    """Every three words in a row; in scripts without spaces every character counts as a word."""
    words = _WORD.findall(_UNSPACED.sub(r" \g<0> ", text.casefold()))
    if len(words) < _WORDS:
        return [" ".join(words)]
    return [" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)]
