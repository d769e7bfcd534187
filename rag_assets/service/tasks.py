"""Prompts that a chat front end sends on its own behalf: titles, tags, follow-up questions.

A configured model answers them as it is; nothing is retrieved. The built-in extractive one cannot,
so it gives the smallest answer that the front end can read.
"""

import json
import re
from collections.abc import Sequence

from rag_assets.answering.base import Usage
from rag_assets.answering.llm import LanguageModel
from rag_assets.answering.models import EXTRACTIVE, Completion
from rag_assets.answering.prompt import Prompt
from rag_assets.config import LlmConfig

_FIELDS = ("title", "tags", "follow_ups", "queries", "text")
_USER = re.compile(r"^(?:USER|user|User):\s*(.+)$", re.MULTILINE)
_TITLE_WORDS = 6


async def complete_task(config: LlmConfig, messages: Sequence[tuple[str, str]]) -> Completion:
    """The reply to a task prompt; messages: (role, text). Raises: LlmError."""
    if config.model != EXTRACTIVE:
        asked = [{"role": role, "content": text} for role, text in messages]
        return await LanguageModel(config).acomplete(Prompt(asked))
    return Completion(_smallest(messages[-1][1]), EXTRACTIVE, Usage(), 0.0)


def _smallest(prompt: str) -> str:
    """An empty reply of the JSON form that the prompt asks for, or the start of the chat."""
    for name in _FIELDS:
        if re.search(rf'"{name}"\s*:', prompt):
            empty: object = [] if name not in ("title", "text") else _title(prompt)
            return json.dumps({name: empty}, ensure_ascii=False)
    return _title(prompt)


def _title(prompt: str) -> str:
    """The first words of what the user first said, or nothing."""
    said = _USER.search(prompt)
    return " ".join(said[1].split()[:_TITLE_WORDS]) if said else ""
