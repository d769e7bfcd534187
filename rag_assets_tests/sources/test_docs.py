"""Every piece of configuration in the documentation of sources is one that is accepted."""

import os
import re
from pathlib import Path

import pytest
import yaml

from rag_assets.config import load_config

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
FILES = ("corpus.jsonl", "result.json", "docs/a.md")


def whole(block: str) -> str:
    """A block as a configuration of its own: some begin within `sources:`."""
    text = block if not block.startswith("  - ") else f"sources:\n{block}"
    said = yaml.safe_load(text.replace("url: …", "url: https://wiki.example.org"))
    said.setdefault("sources", [{"name": "docs", "type": "files", "path": "./docs"}])
    return yaml.safe_dump({"name": "kb", "storage": "./.rag", **said})


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_configuration_on_the_page_is_accepted(number, tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    for name in re.findall(r"\$\{(\w+)\}", BLOCKS[number]):
        known = {
            "DATABASE_URL": "sqlite:///x.db",
            "AMQP_URL": "amqp://h/",
            "MONGODB_URL": "mongodb://h/",
        }
        monkeypatch.setenv(name, known.get(name, "x"))
    (tmp_path / "knowledge_base.yaml").write_text(whole(BLOCKS[number]))
    config = load_config(tmp_path / "knowledge_base.yaml")
    assert config.sources
    assert os.path.isabs(config.storage)


def test_the_page_has_them():
    assert len(BLOCKS) >= 7
