"""What users, apps and other people's checks call by name; a change here breaks them."""

import importlib
import pkgutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

import rag_assets
import rag_assets.cli
from rag_assets import errors
from rag_assets.answering.base import Answer
from rag_assets.cli import app as application
from rag_assets.config import load_config

ASKED = {"-k", "--where", "--groups", "--version", "--explain"}
COMMANDS = {
    "init": {"--config", "--json"},
    "refresh": {"--source", "--full", "--confirm-deletes", "--config", "--json"},
    "watch": {"--config", "--json"},
    "search": {*ASKED, "--config", "--json"},
    "ask": {*ASKED, "--stream", "--config", "--json"},
    "evaluate": {"--set", "--version", "--compare", "--config", "--json"},
    "versions": {"--config", "--json"},
    "rollback": {"--config", "--json"},
    "explain": {"--config", "--json"},
    "quarantine": {"--config", "--json"},
    "reconcile": {"--repair", "--config", "--json"},
    "serve": {"--host", "--port", "--config", "--json"},
    "doctor": {"--config", "--json"},
}
EXIT = {"ConfigError": 2, "BadRequest": 2, "GateRefused": 3, "Held": 4, "StorageError": 1}

KNOWLEDGE_BASE = """
name: handbook
storage: ./.rag
sources:
  - name: docs
    type: files
    path: ./docs
    include: ["**/*"]
    exclude: ["**/drafts/**"]
    category: article
    metadata: {team: hr}
    acl: [everyone]
    buckets: 16
    delete_guard: 0.2
  - {name: squad, type: records, path: ./corpus.jsonl, id: _id, title: title, text: text}
chunking:
  default: {strategy: auto, size: 256, overlap: 32}
  categories: {post: {size: 128, overlap: 16}}
embedding: {model: sentence-transformers/all-MiniLM-L6-v2, precision: int8, device: auto}
index: {chroma: embedded, keep_versions: 3, space: cosine}
retrieval: {mode: hybrid, k: 5}
evaluation:
  sets: [questions.jsonl, {path: beir, format: beir}]
  gate: {recall@5: 0.75, hit@1: 0.5, mrr@10: 0.60, ndcg@10: 0.5, max_regression: 0.02, min_queries: 20}
llm: {model: extractive, max_context_tokens: 4096}
"""  # noqa: E501


@pytest.fixture(scope="module")
def program() -> Any:
    for module in pkgutil.iter_modules(rag_assets.cli.__path__):
        importlib.import_module(f"rag_assets.cli.{module.name}")
    return typer.main.get_command(application.app)


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_take_their_options(program: Any, name: str) -> None:
    assert COMMANDS[name] <= options(program.commands[name])


def test_every_command_takes_a_configuration_and_prints_json(program: Any) -> None:
    waiting, lacking, seen = [("", program)], [], 0
    while waiting:
        name, command = waiting.pop()
        if inside := getattr(command, "commands", {}):
            waiting += [(f"{name} {other}", found) for other, found in inside.items()]
            continue
        if command.hidden:
            continue
        seen += 1
        lacking += [
            (name, o) for o in ("--config", "--json", "--debug") if o not in options(command)
        ]
    assert lacking == []
    assert seen > 30


def test_errors_map_to_the_exit_statuses() -> None:
    assert {name: getattr(errors, name).exit_code for name in EXIT} == EXIT


def test_python_names() -> None:
    assert {"KnowledgeBase", "answer", "search"} <= set(rag_assets.__all__)
    for name in ("open", "search", "answer", "aanswer"):
        assert callable(getattr(rag_assets.KnowledgeBase, name))
    told = {"text", "citations", "confidence", "needs_review", "index_version", "model"}
    assert told | {"usage", "cost_usd", "timings"} <= {field.name for field in fields(Answer)}


def test_every_documented_key_is_read_and_is_the_default(tmp_path: Path) -> None:
    for folder in ("docs", "beir"):
        (tmp_path / folder).mkdir()
    for file in ("corpus.jsonl", "questions.jsonl"):
        (tmp_path / file).touch()
    path = tmp_path / "knowledge_base.yaml"
    path.write_text(KNOWLEDGE_BASE)
    whole = load_config(path)
    assert [s.path for s in whole.sources] == [str(tmp_path / n) for n in ("docs", "corpus.jsonl")]
    path.write_text("name: handbook\nsources: [{name: docs, type: files, path: ./docs}]\n")
    least = load_config(path)
    for section in ("embedding", "index", "retrieval", "llm"):
        assert getattr(least, section) == getattr(whole, section)
    assert (least.storage, least.chunking.default) == (whole.storage, whole.chunking.default)
