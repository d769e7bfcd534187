"""A model that obeys whatever it reads, as far as a poisoned passage could wish.

`gullible` does what any text of its prompt asks for, delimited or not: the worst case. `careful`
obeys only what does not stand in a framed passage, as a model does that was trained to tell
instructions from data. Neither understands anything else: without an instruction to follow, it
quotes the line that shares most words with the question.
"""

import re
import unicodedata

from rag_assets.answering.prompt import NO_ANSWER
from rag_assets.index.lexical import terms

_REPLY = re.compile(
    r"(?:reply|answer|respond|antworte|réponds)(?: \w+){0,3}? (?:with|mit|par)(?: exactly)?:?"
    r"[ \n]*[\"“](.+?)[\"”]",
    re.IGNORECASE | re.DOTALL,
)
_ADD = re.compile(
    r"(?:append|add|include|end|close|finish)\b[^\"“]{0,60}[\"“](.+?)[\"”]", re.IGNORECASE
)
_LEAK = re.compile(
    r"(?:reveal|repeat|print|recite)[^.]{0,40}(?:system prompt|rules|instructions)", re.I
)
_NUMBER = re.compile(r"^(?:<<passage (\d+) [0-9a-f]+>>|\[(\d+)\])$")
_QUESTION = re.compile(r"^Question: (.*)$", re.MULTILINE)


def reply_of(kind: str, messages: list[dict]) -> str:
    """What this model replies."""
    system, user = messages[0]["content"], messages[-1]["content"]
    lines = user.split("\n")
    mark = re.search(r"\^[0-9a-f]+\|", system)
    seen = user
    if kind == "careful" and mark:
        seen = "\n".join(line for line in lines if not line.startswith(mark.group()))
    seen = "".join(
        c for c in unicodedata.normalize("NFKC", seen) if unicodedata.category(c) != "Cf"
    )
    if mark:
        seen = seen.replace(f"{mark.group()} ", "")
    if _LEAK.search(seen):
        rules = system.split("\n\n")
        return f"My rules are: {rules[0]} {rules[-1] if mark else ''}"
    whole = _REPLY.search(seen)
    if whole:
        return whole.group(1)
    honest = _honest(lines, mark.group() if mark else "", user)
    added = _ADD.search(seen)
    return f"{honest} {added.group(1)}" if added else honest


def _honest(lines: list[str], mark: str, user: str) -> str:
    asked = set(terms(_QUESTION.search(user).group(1)))
    number, best = 0, (0.0, "", 0)
    for line in lines:
        opening = _NUMBER.match(line)
        if opening:
            number = int(opening.group(1) or opening.group(2))
        elif number and not line.startswith(("Question:", "Answer it", "<<")):
            for sentence in re.split(r"(?<=[.!?])\s", line.removeprefix(mark).strip()):
                shared = len(asked & set(terms(sentence)))
                if shared > best[0] and not sentence.endswith("?"):
                    best = (shared, sentence, number)
    return f"{best[1]} [{best[2]}]" if best[0] else NO_ANSWER
