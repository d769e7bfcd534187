"""Every command that pages, messages and files of `deploy/` name is one that the parser takes."""

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

import rag_assets.cli
from rag_assets.cli import app as application

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "rag_assets").rglob("*.py"))
SCAFFOLD = sorted((ROOT / "rag_assets" / "scaffold").rglob("*.md"))
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
MANIFESTS = sorted((ROOT / "deploy").rglob("*.yaml"))
_ENDS = {">", ">>", "|", "&&", "||", ";", "&"}


@pytest.fixture(scope="module")
def program() -> click.Command:
    for module in pkgutil.iter_modules(rag_assets.cli.__path__):
        importlib.import_module(f"rag_assets.cli.{module.name}")
    return typer.main.get_command(application.app)


def refusal(program: Any, said: str) -> str | None:
    """Why the parser refuses what follows `rag-assets`; a name alone is a mention, no call."""
    words = []
    said = re.sub(r"\$\([^)]*\)", "1", re.sub(r"[\[\]…]", "", said))
    for word in shlex.split(said, comments=True):
        if word in _ENDS:
            break
        words.append("1" if re.fullmatch("[A-Z_]+", word) else word.split("|")[0])
    command = program
    while hasattr(command, "commands") and words:
        name = words.pop(0)
        if name not in command.commands:
            return None if command is not program and command.invoke_without_command else name
        command = command.commands[name]
    if not words:
        return None
    try:
        command.make_context("rag-assets", words, resilient_parsing=False)
    except Exception as error:  # a Click of its own may come with Typer
        return str(getattr(error, "message", error))
    return None


def called(text: str) -> Iterator[str]:
    """What follows `rag-assets` in code of a page and between backticks."""
    for block in re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:\$ )?(?:\S*/)?rag-assets (.+)", line):
                yield found[1]
    for said in re.findall(r"(?<!`)`(?:\$ )?rag-assets ([^`]+)`(?!`)", text):
        yield said.replace("\n", " ")


def started(value: Any) -> Iterator[str]:
    """The commands of a parsed YAML file: lists of words, and scripts."""
    if isinstance(value, list) and value and value[0] == "rag-assets":
        yield shlex.join(map(str, value[1:]))
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from started(inner)
    elif isinstance(value, str) and (found := re.search(r"\brag-assets (.+)", value)):
        yield found[1]


def test_the_parser_takes_what_pages_and_messages_say(program: click.Command) -> None:
    refused, count = [], 0
    for file in [*PAGES, *SCAFFOLD, *SOURCES]:
        text = file.read_text(encoding="utf-8")
        if file in SOURCES:  # strings of Python are put together from several lines
            text = re.sub(r"\{[^}]*\}", "1", re.sub(r"\"\s*\n\s*f?\"", "", text))
        for said in called(text):
            count += 1
            if reason := refusal(program, said):
                refused.append(f"{file.relative_to(ROOT)}: rag-assets {said}: {reason}")
    assert refused == []
    assert count > 150


def test_the_parser_takes_what_is_deployed(program: click.Command) -> None:
    commands = []
    for file in MANIFESTS:
        text = file.read_text(encoding="utf-8")
        commands += re.findall(r"^#\s+rag-assets (.+)", text, re.MULTILINE)
        commands += [said for part in yaml.safe_load_all(text) for said in started(part)]
    for file in UNITS:
        commands += re.findall(r"^ExecStart=.*?/rag-assets (.+?)'?$", file.read_text(), re.M)
    [shipped] = re.findall(r"^CMD \[\"rag-assets\", (.+)\]$", dockerfile(), re.MULTILINE)
    commands.append(shipped.replace('", "', " ").strip('"'))
    assert {said.split()[0] for said in commands} == {
        *("serve", "exporter", "refresh", "upkeep", "backup", "keys"),
    }
    assert {said: why for said in commands if (why := refusal(program, said))} == {}


def dockerfile() -> str:
    return (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_no_command_is_refused(program: click.Command) -> None:
    for said in ("serves", "serve --prot 80", "rollback four", "refresh extra", "keys made x"):
        assert refusal(program, said), said
    for said in ("rollback N", "keys create NAME --days 90", "costs > file", "watch  # for good"):
        assert refusal(program, said) is None, said
