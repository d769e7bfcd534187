"""The built-in answerer: quotes the sentences that answer best, or abstains. Needs no network.

It can only repeat what stands in the passages, so no passage can make it say or do anything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from rag_assets.answering.prompt import NO_ANSWER, PromptPassage
from rag_assets.answering.sentences import Sentence, plain, sentences
from rag_assets.index.lexical import terms

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to float32 (n, dim), L2-normalised."""

_MOST = 3  # sentences in an answer
_WITHIN = 0.85  # of the best sentence's score, for another one to join it
_HEADING_SHARE = 0.5  # what a word in the title or heading counts of one in the sentence
_RANK_WEIGHT = 0.15  # the best passage's bonus over one infinitely far down
_MEANING_WEIGHT = 1.0  # cosine of sentence and question, where an encoder is given
_ENCODED = 24  # sentences compared by meaning: those that score best by words and rank
_ENOUGH = 0.34  # coverage of the question's words below which nothing was said about it
# Words that make a question one, and so stand in no answer; by stem.
_ASKING = frozenset(
    "how mani much what which who whom whose when where whi do doe did can could should would will"
    " am i my me we our you your go get".split()
)
_ENOUGH_MEANING = 0.45  # cosine from which a sentence answers whatever its words


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: PromptPassage
    sentence: Sentence
    order: int
    coverage: float
    score: float
    meaning: float = 0.0


def extract_answer(
    question: str,
    passages: Sequence[PromptPassage],
    encode: Encode | None = None,
    evidence: float = 1.0,
) -> str:
    """The sentences that answer a question, each with the number of its passage in brackets.

    passages: best first. encode: compares sentences by meaning too, which finds paraphrases.
    evidence: how much of the usual evidence a sentence needs; 0 where somebody else judges the
    answer. Returns `NO_ANSWER` when nothing in the passages is about the question.
    """
    candidates = _by_words(question, passages)
    if encode is not None:
        candidates = _by_meaning(question, candidates, encode)
    fitting = [
        candidate
        for candidate in candidates
        if candidate.coverage >= evidence * _ENOUGH
        or candidate.meaning >= evidence * _ENOUGH_MEANING
    ]
    if not fitting:
        return NO_ANSWER
    return " ".join(
        f"{_ended(plain(candidate.sentence.text))} [{candidate.passage.number}]"
        for candidate in _chosen(fitting)
    )


def _by_words(question: str, passages: Sequence[PromptPassage]) -> list[_Candidate]:
    """Every sentence, scored by the rare words it shares with the question and by rank."""
    every = dict.fromkeys(terms(question))
    asked = [term for term in every if term not in _ASKING] or list(every)
    found = [
        (place, passage, sentence)
        for place, passage in enumerate(passages)
        for sentence in sentences(passage.text)
    ]
    words = [set(terms(plain(sentence.text))) for _, _, sentence in found]
    titles = [set(terms(f"{passage.title} {s.heading}")) for _, passage, s in found]
    weight = {
        term: log(1 + (len(words) + 1) / (sum(term in some for some in words) + 0.5))
        for term in asked
    }
    total = sum(weight.values()) or 1.0
    candidates = []
    for order, (place, passage, sentence) in enumerate(found):
        said = sum(weight[term] for term in asked if term in words[order])
        implied = sum(
            weight[term] for term in asked if term in titles[order] and term not in words[order]
        )
        coverage = (said + _HEADING_SHARE * implied) / total
        score = coverage + _RANK_WEIGHT / (1 + place)
        candidates.append(_Candidate(passage, sentence, order, coverage, score))
    return candidates


def _by_meaning(
    question: str, candidates: Sequence[_Candidate], encode: Encode
) -> list[_Candidate]:
    """The most promising candidates, with the cosine to the question added to their score."""
    best = sorted(candidates, key=lambda candidate: -candidate.score)[:_ENCODED]
    if not best:
        return []
    texts = [question, *(plain(candidate.sentence.text) for candidate in best)]
    vectors = encode(texts)
    cosines = vectors[1:] @ vectors[0]
    return [
        _Candidate(
            candidate.passage,
            candidate.sentence,
            candidate.order,
            candidate.coverage,
            candidate.score + _MEANING_WEIGHT * float(cosine),
            float(cosine),
        )
        for candidate, cosine in zip(best, cosines, strict=True)
    ]


def _chosen(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The best sentence and those nearly as good, without repeats, in reading order."""
    ranked = sorted(candidates, key=lambda candidate: (-candidate.score, candidate.order))
    best = ranked[0]
    kept = [best]
    for candidate in ranked[1:]:
        if len(kept) == _MOST or candidate.score < _WITHIN * best.score:
            break
        if not any(_alike(candidate.sentence.text, other.sentence.text) for other in kept):
            kept.append(candidate)
    return sorted(kept, key=lambda candidate: candidate.order)


def _alike(one: str, other: str) -> bool:
    """Whether two sentences say nearly the same words."""
    first, second = set(terms(one)), set(terms(other))
    return len(first & second) >= 0.8 * max(1, min(len(first), len(second)))


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…", ":", "。", "！", "？")) else f"{text}."
