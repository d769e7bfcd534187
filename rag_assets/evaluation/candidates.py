"""Candidates for an eval set, drafted from passages. None counts before a person accepted it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_assets.index.base import Passage
from rag_assets.records import digest_of

TEMPLATES = "templates"
"""The author of candidates that no language model wrote."""

Complete = Callable[[Sequence[Mapping[str, str]]], str]
"""Chat messages to the reply of a language model."""

_SENTENCE = re.compile(r"[^\n]+?[.!?](?=\s|$)")
_FEWEST_WORDS, _MOST_WORDS = 6, 40  # of a sentence that may be a passage to find
_EXTENSION = re.compile(r"\.[A-Za-z]{2,5}$")  # of a document that has no title but its name
_DEFINITION = re.compile(
    r"^(?P<subject>(?:The|An?|Each|Every) (?:[\w-]+ ){1,4}?)"
    r"(?P<verb>is|are|must be|may be|can be|has to be) ",
)
_AMOUNT = re.compile(
    r"\b(?P<number>\d[\d.,]*|two|three|four|five|six|seven|eight|nine|ten|twelve)"
    r" (?P<unit>(?:working |calendar |business )?[a-z]{3,}s)\b"
)
_PROMPT = """You write test questions for a search engine over a company's documents.
Below is one passage. Write one question that a colleague who has never seen the passage might
type, that this passage answers, and that can be understood without it. Use your own words: as few
words of the passage as you can.
Reply with one JSON object and nothing else:
{"question": "…", "answer": "short answer", "quote": "the sentence of the passage that answers it, \
word for word"}"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A query that waits for a person.

    relevant: documents that are expected, or for a logged question those that came and may be
    right. origin: kind (`chunk` or `log`), author, and what it was made of. status: pending,
    accepted or rejected.
    """

    query: str
    relevant: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    answer: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    status: str = "pending"

    @property
    def id(self) -> str:
        """Short and stable: the same question always has the same one."""
        return digest_of(" ".join(self.query.casefold().split()))[:8]

    def as_json(self) -> dict[str, Any]:
        """One line of the queue."""
        return {
            "id": self.id,
            "status": self.status,
            "query": self.query,
            "relevant": list(self.relevant),
            "passages": list(self.passages),
            "answer": self.answer,
            "origin": dict(self.origin),
        }


def from_templates(passage: Passage, index_version: int) -> Candidate | None:
    """A question made of the passage's headings or of a sentence that names an amount or a rule.

    The first kind that fits is taken: a heading that is a question, an amount, a definition, and
    last the heading itself. The templates are English; passages known to be in another language
    give none.
    """
    if passage.language not in (None, "en"):
        return None
    found = next(_drafts(passage), None)
    if found is None:
        return None
    query, sentence = found
    origin = _origin(passage, TEMPLATES, index_version)
    return Candidate(query, (passage.doc_id,), (sentence,) if sentence else (), None, origin)


def from_model(
    passage: Passage, index_version: int, complete: Complete, model: str
) -> Candidate | None:
    """A question that a language model writes; None when its quote does not stand in the passage.

    Raises: whatever `complete` raises.
    """
    title = " › ".join((passage.title, *passage.heading))
    content = f"Document: {title}\n\nPassage:\n{passage.text}"
    reply = complete([{"role": "system", "content": _PROMPT}, {"role": "user", "content": content}])
    written = _json_in(reply)
    query, quote = written.get("question"), written.get("quote")
    if not (isinstance(query, str) and isinstance(quote, str) and query.strip()):
        return None
    if not _letters(quote) or _letters(quote) not in _letters(passage.text):
        return None
    answer = written.get("answer")
    return Candidate(
        " ".join(query.split()),
        (passage.doc_id,),
        (" ".join(quote.split()),),
        answer if isinstance(answer, str) and answer.strip() else None,
        _origin(passage, model, index_version),
    )


def _drafts(passage: Passage) -> Iterator[tuple[str, str]]:
    """Question and the sentence that answers it, best kinds first."""
    topic = next((h for h in reversed(passage.heading) if h.strip()), passage.title).strip()
    sentences = [s for s in map(_tidy, _SENTENCE.findall(passage.text)) if _fits(s)]
    if topic.endswith("?"):
        yield topic, sentences[0] if sentences else ""
    about = _about(passage, topic)
    for sentence in sentences:
        amount = _AMOUNT.search(sentence)
        if amount and about:
            yield f"How many {amount['unit']} are there for {about}?", sentence
    for sentence in sentences:
        definition = _DEFINITION.match(sentence)
        if definition:
            subject = definition["subject"].strip()
            yield f"What is said about {subject[0].lower()}{subject[1:]}?", sentence
    if about and sentences:
        yield f"What applies to {about}?", sentences[0]


def _about(passage: Passage, topic: str) -> str:
    """The topic, with the document's title where a heading alone would say too little."""
    if not topic:
        return ""
    title = _EXTENSION.sub("", passage.title.strip())
    topic = _EXTENSION.sub("", topic)
    first = topic.split()[0].rstrip(",:")
    # A word that has its capital in the middle of a sentence too is a name.
    named = re.search(rf"[a-z,;] {re.escape(first)}\b", passage.text)
    short = topic if topic[:2].isupper() or named else topic[0].lower() + topic[1:]
    return short if topic == title or not title else f"{short} ({title})"


def _fits(sentence: str) -> bool:
    return _FEWEST_WORDS <= len(sentence.split()) <= _MOST_WORDS and "|" not in sentence


def _tidy(sentence: str) -> str:
    return " ".join(sentence.split()).lstrip("#*->• ")


def _origin(passage: Passage, author: str, index_version: int) -> dict[str, str]:
    return {
        "kind": "chunk",
        "author": author,
        "doc_id": passage.doc_id,
        "chunk_id": passage.chunk_id,
        "index_version": str(index_version),
    }


def _json_in(reply: str) -> dict[str, Any]:
    """The first JSON object in a reply; models like to wrap it in prose or a code fence."""
    start, end = reply.find("{"), reply.rfind("}")
    try:
        found = json.loads(reply[start : end + 1]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
