"""Follow-up questions: the last question of a conversation, made to stand alone.

"And in Berlin?" finds nothing. A configured model rewrites it; without one, or when it fails, such
an ending takes the place of the one in the question before ("… in Lisbon?"), and any other question
that points back is asked together with the one it points back to.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag_assets.answering.models import EXTRACTIVE, Model
from rag_assets.answering.prompt import CONDENSE_VERSION, Prompt, instructions
from rag_assets.config import LlmConfig
from rag_assets.errors import BadRequest, LlmError
from rag_assets.index.lexical import terms

Turn = Mapping[str, str]
"""One message so far: `role` (user or assistant) and `content`."""

_TURNS = 6  # the last ones that are looked at
_CHARACTERS = 1500  # of each
_LONGEST = 500  # characters of a rewritten question; more is not a question
_SHORT = 3  # terms up to which a question that begins as a continuation needs what came before
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|she|him|his|her|hers|this|these|those|that one|there"
    r"|then|the same|the former|the latter|such|either|neither|both|another one|others?"
    r"|(?:is|was|does|did|will|can|about|of|for|to|after|before|than|like|with) that)\b",
    re.IGNORECASE,
)
_IMPERSONAL = re.compile(
    r"\b(?:is|are|was|were|will|would|can) there\b|\bthere (?:is|are|was|were)\b"
    r"|\b(?:is|was|would|will) it (?:be )?(?:true|possible|allowed|ok|okay|necessary|required"
    r"|permitted|forbidden|legal|safe|worth|enough|mandatory)\b"
    r"|\b(?:these|this) (?:days?|week|month|year)\b"
    r"|\bit(?=[- ](?:department|desk|support|team|help))",
    re.IGNORECASE,
)
_CONTINUES = re.compile(
    r"^\W*(?:and|but|or|also|so|what about|how about|what if|why|why not|how so|since when"
    r"|until when|for (?:how|what|whom)|in (?:which|what)|even|only)\b",
    re.IGNORECASE,
)

_ANOTHER = re.compile(
    r"^\W*(?:and|but|or|what about|how about)\s+"
    r"(in|at|for|on|from|to|with|of|after|before|during|under|by|as)\s+([^?.!,;]+?)\W*$",
    re.IGNORECASE,
)
_NAME = r"[A-Z0-9][\w'’-]*(?:\s+[A-Z0-9][\w'’-]*)*"
_ENDING = r"[^\s?.!,;]+(?:\s+[^\s?.!,;]+){0,2}(?=\s*(?:[?.!,;]|$))"


@dataclass(frozen=True, slots=True)
class Standalone:
    """A question that can be understood alone, and what it cost to make."""

    question: str
    cost_usd: float = 0.0


class Condenser:
    """Makes questions stand alone. Safe to use from any thread."""

    def __init__(self, config: LlmConfig, model: Model) -> None:
        self._model = None if model.name == EXTRACTIVE else model
        self._instructions = instructions(config.prompts, CONDENSE_VERSION)

    def standalone(self, question: str, history: Sequence[Turn]) -> Standalone:
        """The question as it would be asked first. Raises: BadRequest for a wrong history."""
        turns = _checked(history)
        if not turns:
            return Standalone(question)
        if self._model is not None:
            try:
                done = self._model.complete(self._prompt(question, turns))
                return Standalone(_usable(done.text) or by_words(question, turns), done.cost_usd)
            except LlmError:
                pass  # the answer itself tells of a model that fails
        return Standalone(by_words(question, turns))

    async def astandalone(self, question: str, history: Sequence[Turn]) -> Standalone:
        """`standalone`, without blocking the event loop."""
        turns = _checked(history)
        if not turns:
            return Standalone(question)
        if self._model is not None:
            try:
                done = await self._model.acomplete(self._prompt(question, turns))
                return Standalone(_usable(done.text) or by_words(question, turns), done.cost_usd)
            except LlmError:
                pass
        return Standalone(by_words(question, turns))

    def _prompt(self, question: str, turns: Sequence[Turn]) -> Prompt:
        said = "\n".join(f"{turn['role']}: {turn['content'][:_CHARACTERS]}" for turn in turns)
        asked = f"Conversation:\n{said}\n\nLast question: {question}"
        return Prompt(
            [
                {"role": "system", "content": self._instructions.text},
                {"role": "user", "content": asked},
            ]
        )


def by_words(question: str, history: Sequence[Turn]) -> str:
    """The question with what it leaves out, if it points back to the user's last one before."""
    topic = ""
    for turn in history:
        if turn["role"] == "user":
            said = " ".join(turn["content"].split())[:_LONGEST]
            topic = _joined(topic, said) if topic and _points_back(said) else said
    return _joined(topic, question) if topic and _points_back(question) else question


def _joined(topic: str, question: str) -> str:
    """`… in Lisbon?` and `And in Berlin?` as `… in Berlin?`; others one behind the other."""
    other = _ANOTHER.match(question)
    if other is None or _POINTS_BACK.search(other[2]):
        return f"{topic} {question}"
    named = _NAME if other[2][0].isupper() else _ENDING
    places = list(re.finditer(rf"\b(?i:{other[1]})\s+({named})", topic))
    if not places:
        return f"{topic} {question}"
    start, end = places[-1].span(1)
    return topic[:start] + other[2] + topic[end:]


def _points_back(question: str) -> bool:
    if _POINTS_BACK.search(_IMPERSONAL.sub("", question)):
        return True
    return bool(_CONTINUES.match(question)) and len(set(terms(question))) <= _SHORT


def _usable(text: str) -> str:
    """The rewritten question on one line, or nothing when it is none."""
    line = " ".join(text.split()).strip("\"'")
    return line if 0 < len(line) <= _LONGEST else ""


def _checked(history: Sequence[Turn]) -> list[Turn]:
    for place, turn in enumerate(history):
        role, content = turn.get("role"), turn.get("content")
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise BadRequest(
                f"history.{place}: expected role (user or assistant) and content (a text),"
                f" found {turn!r:.80}"
            )
    return list(history)[-_TURNS:]
