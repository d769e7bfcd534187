"""Other words for what is asked: acronyms and synonyms from the configuration, and rewrites."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from rag_assets.errors import RagError
from rag_assets.retrieval.rerank.base import Complete

_log = logging.getLogger(__name__)

Rewrite = Callable[[str], list[str]]
"""A question to other wordings of it."""

_LONGEST = 300  # characters of a wording; what is longer is no question
_NUMBERING = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.):])\s*")

PROMPT = """\
Write {count} search queries that would find documents answering the question below, each in other
words than the question and the others: name the thing differently, be more general, be more
specific. Keep names, numbers and the language of the question. Reply with one query a line and
nothing else.

Question: {question}"""


def expanded(query: str, synonyms: Mapping[str, Sequence[str]]) -> str:
    """The query with the other words for each term it holds, in brackets behind the first of it.

    A term in capitals (IT, PTO) matches only in capitals, any other in any case; whole words only.
    """
    for term, others in synonyms.items():
        new = [other for other in others if not _whole(other).search(query)]
        found = _whole(term).search(query)
        if found and new:
            query = f"{query[: found.end()]} ({', '.join(new)}){query[found.end() :]}"
    return query


def rewriter(complete: Complete, count: int) -> Rewrite:
    """A rewriter by language model. Without its reply the question stands alone."""

    def rewrite(question: str) -> list[str]:
        try:
            reply = complete(PROMPT.format(count=count, question=question))
        except RagError as error:
            _log.warning("%s; the question is searched in its own words only", error)
            return []
        return read_wordings(reply, question, count)

    return rewrite


def read_wordings(reply: str, question: str, count: int) -> list[str]:
    """Up to `count` wordings out of a reply: no numbering, nothing twice, nothing too long."""
    lines = (_NUMBERING.sub("", line).strip().strip('"') for line in reply.splitlines())
    kept = dict.fromkeys(line for line in lines if line and len(line) <= _LONGEST)
    kept.pop(question.strip(), None)
    return list(kept)[:count]


@lru_cache(maxsize=4096)
def _whole(term: str) -> re.Pattern[str]:
    case = re.NOFLAG if term.isupper() else re.IGNORECASE
    return re.compile(rf"(?<!\w){re.escape(term)}(?!\w)", case)
