"""Prompts that a chat front end sends on its own behalf: titles, tags, follow-up questions.

A configured model answers them as they are; nothing is retrieved. The built-in extractive one
cannot, so it gives the smallest answer that the front end can read; so it does where models fail.
"""

import json
import re
from collections.abc import Sequence

from rag_assets.answering.base import Usage
from rag_assets.answering.llm import LanguageModel
from rag_assets.answering.models import EXTRACTIVE, Completion
from rag_assets.answering.prompt import Prompt
from rag_assets.errors import LlmError
from rag_assets.knowledge_base import KnowledgeBase

_FIELDS = ("title", "tags", "follow_ups", "queries", "text")
_USER = re.compile(r"^(?:USER|user|User):\s*(.+)$", re.MULTILINE)
_TITLE_WORDS = 6


async def complete_task(
    knowledge: KnowledgeBase, messages: Sequence[tuple[str, str]]
) -> tuple[Completion, str | None]:
    """The reply to a task prompt, and why the configured model did not give it.

    messages: (role, text).
    """
    config, problem = knowledge.config.llm, None
    asked = Prompt([{"role": role, "content": text} for role, text in messages])
    for name in dict.fromkeys((config.model, *config.fallbacks)):
        if name == EXTRACTIVE:
            break
        try:
            return await LanguageModel(config, name, knowledge.purse).acomplete(asked), problem
        except LlmError as error:
            problem = problem or str(error)
    return Completion(_smallest(messages[-1][1]), EXTRACTIVE, Usage(), 0.0), problem


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
