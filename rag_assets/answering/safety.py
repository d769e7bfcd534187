"""Defences against passages that were written to steer the model.

None of them makes a model immune; what each is worth is measured in docs/security.md.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from rag_assets.answering.context import Source
from rag_assets.answering.prompt import Secrets
from rag_assets.answering.sentences import sentences

TRUSTED = 0.5
"""Trust of a source below which its links are not shown, and its claims alone need review."""

REMOVED = "[left out: it addresses the assistant]"

_YOU = r"(?:you|your|the (?:assistant|model|ai|chatbot|bot))"
_OLD = r"(?:previous|prior|above|earlier|preceding|other|these|those|all|any|system|original|your)"
_RULES = r"(?:instructions?|prompts?|rules?|guidelines?|directions?|context|passages?|messages?)"
_INSTRUCTION = re.compile(
    "|".join(
        [
            rf"\b(?:ignore|disregard|forget|override|bypass)\b.{{0,40}}\b{_OLD}\b.{{0,30}}\b{_RULES}",
            rf"\b(?:new|updated|important|real) (?:system )?{_RULES} (?:for|to) {_YOU}",
            r"\b(?:reveal|repeat|print|show|output|leak)\b.{0,30}\b(?:system prompt|instructions"
            r"|rules you|code ?word|canary)",
            rf"\b(?:as|dear|hey|attention|note to)\b.{{0,12}}\b(?:an? )?(?:ai|language model|llm"
            rf"|assistant|chatbot)\b.{{0,60}}\b(?:must|should|shall|will|please|have to|{_YOU})",
            r"\b(?:assistant|model|ai)s? (?:must|should|shall|has to|will now) (?:answer|reply"
            r"|respond|say|write|tell|include|add|append|output)",
            r"\b(?:answer|reply|respond) (?:only |exactly |always |instead )?(?:with|by saying)\b"
            r".{0,60}(?:whatever|regardless|no matter|instead|nothing else|not_in_knowledge_base)",
            r"\b(?:do not|don't|never) (?:mention|cite|use|reveal)\b.{0,40}\b(?:passages?|sources?"
            r"|this instruction)",
            r"\byou are (?:now|no longer)\b",
            r"(?:^|\n)\s*(?:#+ *)?(?:system|assistant|developer)"
            r"\s*(?:prompt|message|override)?\s*:",
            r"<\|?(?:im_start|im_end|system|endoftext)\|?>|\[/?INST\]|<<(?:end|question|passage|SYS)",
        ]
    ),
    re.IGNORECASE | re.DOTALL,
)
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^\s<>\"'`\])]+|\bwww\.[^\s<>\"'`\])]+", re.IGNORECASE)
_MARKDOWN = re.compile(r"!?\[([^\]\n]*)\]\(\s*<?([^)\s>]*)>?(?:\s+[^)\n]*)?\)")
_HTML = re.compile(r"<\s*/?\s*(?:a|img|iframe|script|link|form|object|embed)\b[^>\n]*>?", re.I)
_REFERENCE = re.compile(r"(?m)^\s*\[[^\]\n]+\]:\s*\S+.*$")
_MARKS = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_LINKISH = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//|\bwww\.|<|!?\[(?!\d{1,3}(?:\s*[,;]\s*\d{1,3})*\])|\][(:]", re.I
)
_TRAILING = ".,;:!?…"


class Leaked(Exception):
    """A reply holds the prompt's code word: whoever asked for it steers the model."""


@dataclass(frozen=True, slots=True)
class Defences:
    """Which defences are up; all but in the measurement of what each is worth.

    framed: delimiters, marks and the code word. instructions: sentences that address the assistant
    are kept from it. duplicates: near copies count once. links: those of no cited passage are
    removed. unproven: an answer of which no claim holds is withheld.
    """

    framed: bool = True
    instructions: bool = True
    duplicates: bool = True
    links: bool = True
    unproven: bool = True


ALL = Defences()


def is_instruction(text: str) -> bool:
    """Whether a text speaks to an assistant instead of to readers.

    Finds the classic wordings, also with invisible characters in them; a request in plain words,
    such as "end the reply with a poem", is not found (of 150 such texts of BIPIA, none).
    """
    return bool(_INSTRUCTION.search(visible(text)))


def visible(text: str) -> str:
    """The text as a reader sees it: compatibility forms folded, invisible characters gone."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Co", "Cn"))


def without_instructions(source: Source) -> Source:
    """The passage as the model may see it: what addresses the assistant is left out."""
    heading = tuple(REMOVED if is_instruction(part) else part for part in source.heading)
    title = REMOVED if is_instruction(source.title) else source.title
    return replace(source, title=title, heading=heading, text=_without_instructions(source.text))


def _without_instructions(text: str) -> str:
    if not is_instruction(text):
        return text
    parts, position = [], 0
    for sentence in sentences(text):
        if is_instruction(sentence.text):
            parts += [text[position : sentence.start], REMOVED]
            position = sentence.end
    cut = "".join([*parts, text[position:]])
    # What only the sentences together say cannot be cut out of them.
    return cut if not is_instruction(cut) else REMOVED


class ReplyFilter:
    """A model's text, piece by piece, without what it may not hold.

    Taken out are traces of the prompt's frame, and links and images that do not stand in a passage
    cited in the same line. A word is handed on once it is complete, a line that may hold a link
    once it has ended; so the pieces together are what the whole text would have given.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        trusted: Collection[int],
        hidden: Secrets | None,
        *,
        links: bool = True,
    ) -> None:
        self._known = {
            source.number: frozenset(_addresses(f"{source.text} {source.uri}"))
            for source in sources
            if source.number in trusted
        }
        self._hidden = hidden
        self._links = links
        self._said = ""  # of the current line
        self._held = ""
        self.removed = 0

    def feed(self, piece: str) -> str:
        """What can be shown by now. Raises: Leaked."""
        self._held += piece
        if self._hidden is not None and self._hidden.canary in self._held:
            raise Leaked
        shown = []
        while "\n" in self._held:
            line, _, self._held = self._held.partition("\n")
            shown.append(self._cleaned(line) + "\n")
            self._said = ""
        linkish = _LINKISH.search(self._held) if self._links else None
        complete = self._held[: linkish.start()] if linkish else self._held
        cut = max(complete.rfind(" "), complete.rfind("\t")) + 1
        word, self._held = self._held[:cut], self._held[cut:]
        shown.append(self._cleaned(word))
        self._said += word
        return "".join(shown)

    def finish(self) -> str:
        """The rest."""
        held, self._held = self._held, ""
        return self._cleaned(held)

    def _cleaned(self, text: str) -> str:
        """The next part of the current line as it may be shown."""
        if self._hidden is not None:
            text = re.sub(rf"{re.escape(self._hidden.mark)} ?", "", text)
            text = re.sub(rf"<<(?:passage \d+|end) {self._hidden.nonce}>>", "", text)
        return self._linked(text) if self._links and _LINKISH.search(text) else text

    def _linked(self, text: str) -> str:
        allowed: set[str] = set()
        for numbers in _MARKS.findall(f"{self._said}{text}"):
            for number in re.findall(r"\d+", numbers):
                allowed |= self._known.get(int(number), frozenset())

        def markdown(match: re.Match[str]) -> str:
            label, target = match.group(1), match.group(2).rstrip(_TRAILING)
            if target in allowed or not re.search(r"[/:.#]", target):
                return match.group()
            self.removed += 1
            return f"[{label}]" if label.isdecimal() else label

        def bare(match: re.Match[str]) -> str:
            address = match.group().rstrip(_TRAILING)
            if address in allowed:
                return match.group()
            self.removed += 1
            return match.group()[len(address) :]

        def gone(match: re.Match[str]) -> str:
            self.removed += 1
            return ""

        text = _REFERENCE.sub(gone, _HTML.sub(gone, _MARKDOWN.sub(markdown, text)))
        return _URL.sub(bare, text)


def _addresses(text: str) -> Iterator[str]:
    return (match.group().rstrip(_TRAILING) for match in _URL.finditer(text))
