"""The messages sent to a model, and reading them back.

The built-in answerer gets the same messages as any model and reads the passages out of them, so
the prompt is a format with an exact inverse: `read_messages(make_messages(...))` gives back the
question and every passage, whatever stands in them.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from rag_assets.answering.context import Source

PROMPT_VERSION = "answer_v1"
NO_ANSWER = "NOT_IN_KNOWLEDGE_BASE"
"""What a model replies when the passages do not answer the question."""

Message = dict[str, str]

_OPEN = re.compile(r"^<<passage (\d+) ([0-9a-f]{16})>>$", re.MULTILINE)
_QUESTION = re.compile(r"\A<<question ([0-9a-f]{16})>>\n(.*?)\n<<end \1>>\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PromptPassage:
    """One passage as it stands in a prompt."""

    number: int
    title: str
    text: str


def system_prompt(version: str = PROMPT_VERSION) -> str:
    """The instructions of a prompt version, a file of this package."""
    return (files(__package__) / "prompts" / f"{version}.txt").read_text(encoding="utf-8").strip()


def make_messages(question: str, sources: Sequence[Source]) -> list[Message]:
    """Instructions, question and passages.

    The delimiters carry a random number, so that no passage can close itself and speak as the user.
    """
    nonce = secrets.token_hex(8)
    parts = [f"<<question {nonce}>>\n{question}\n<<end {nonce}>>\n"]
    for source in sources:
        title = " › ".join((source.title, *source.heading)).replace("\n", " ")
        parts.append(
            f"<<passage {source.number} {nonce}>>\n{title}\n{source.text}\n<<end {nonce}>>\n"
        )
    parts.append("Answer the question from these passages, with [numbers], or abstain as agreed.")
    return [
        {"role": "system", "content": system_prompt()},
        {"role": "user", "content": "\n".join(parts)},
    ]


def read_messages(messages: Sequence[Message]) -> tuple[str, list[PromptPassage]]:
    """The question and passages of `make_messages`; of other messages, the last one's text."""
    content = str(messages[-1].get("content") or "") if messages else ""
    asked = _QUESTION.match(content)
    if asked is None:
        return content, []
    nonce, question = asked.groups()
    passages = []
    position = asked.end()
    while opening := _OPEN.search(content, position):
        position = opening.end()
        if opening.group(2) != nonce:
            continue
        end = content.index(f"\n<<end {nonce}>>\n", position)
        title, _, text = content[position + 1 : end].partition("\n")
        passages.append(PromptPassage(int(opening.group(1)), title, text))
        position = end
    return question, passages
