"""Fixtures that every room's tests may use: a small knowledge base on disk, refreshed for real."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from rag_assets.config import KnowledgeBaseConfig, load_config
from rag_assets.defs.execute import Refresher
from rag_assets.refresh.pipeline import Options

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

SUBJECTS = [
    "vacation",
    "payroll",
    "laptop",
    "printer",
    "parking",
    "canteen",
    "insurance",
    "training",
    "travel",
    "security",
    "password",
    "meeting",
    "invoice",
    "contract",
    "warehouse",
    "delivery",
    "customer",
    "complaint",
    "warranty",
    "calibration",
]


def document(subject: str, paragraphs: int = 4) -> str:
    """A document whose paragraphs are long enough to be chunks of their own."""
    parts = [f"# About {subject}\n"]
    for number in range(paragraphs):
        parts.append(
            f"## {subject.title()} rule {number}\n\n"
            f"Rule {number} about {subject}: every request concerning {subject} goes to desk"
            f" {number + 3} of the {subject} office, is answered within {number + 2} working days,"
            f" and is filed under reference {subject[:3].upper()}-{number}{number}. Ask the"
            f" {subject} team when anything about step {number} is unclear to you.\n"
        )
    return "\n".join(parts)


class SmallBase:
    """A knowledge base in a temporary directory, with what tests do to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents = root / "documents"
        self.documents.mkdir(parents=True)
        self.settings: dict[str, Any] = {
            "name": "small",
            "storage": "./store",
            "sources": [{"name": "docs", "type": "files", "path": "./documents", "buckets": 4}],
            "chunking": {"default": {"size": 64, "overlap": 0}},
        }
        self._instance = dg.DagsterInstance.ephemeral()

    @property
    def path(self) -> Path:
        return self.root / "knowledge_base.yaml"

    def write(self, name: str, text: str) -> Path:
        file = self.documents / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def fill(self, count: int = 8, paragraphs: int = 4) -> None:
        for subject in SUBJECTS[:count]:
            self.write(f"{subject}.md", document(subject, paragraphs))

    def configure(self, **settings: Any) -> KnowledgeBaseConfig:
        self.settings.update(settings)
        self.path.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return load_config(self.path)

    def ask_about(self, subjects: list[str], **gate: Any) -> None:
        """Give it an eval set: one question a subject; and a gate."""
        lines = [
            json.dumps(
                {
                    "id": subject,
                    "query": f"Who answers requests concerning {subject}?",
                    "relevant": [f"docs/{subject}.md"],
                }
            )
            for subject in subjects
        ]
        (self.root / "questions.jsonl").write_text("\n".join(lines))
        self.configure(evaluation={"sets": ["questions.jsonl"], "gate": gate})

    def refresher(self) -> Refresher:
        return Refresher(self.configure(), self._instance)

    def refresh(self, *, full: bool = False, **options: Any) -> dict[str, Any]:
        """One refresh in this process; its receipt."""
        return self.refresher().refresh(Options(audit=full, **options), full=full)

    def close(self) -> None:
        self._instance.dispose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallBase]:
    base = SmallBase(tmp_path / "kb")
    base.configure()
    yield base
    base.close()
