import importlib
import sys
from pathlib import Path

import pytest

from rag_assets import fingerprint

MODULE = '''
"""A stage and what it reaches."""
LIMIT = 3
WORDS = {"a": 1}

def helper(text):
    """Doc."""
    return text[:LIMIT]

class Cutter:
    def cut(self, text):
        return helper(text)

def stage(text):
    return Cutter().cut(text)

def other(text):
    return text.upper()

REGISTRY = {"stage": stage}

def dispatch(name, text):
    return REGISTRY[name](text)

def lazily(text):
    from rag_assets.probe_module import helper as borrowed
    return borrowed(text)
'''


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Digest of each function of a module of this package whose source is the text given."""
    import rag_assets

    monkeypatch.setattr(rag_assets, "__path__", [*rag_assets.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(source: str) -> dict[str, str]:
        (tmp_path / "probe_module.py").write_text(source)
        sys.modules.pop("rag_assets.probe_module", None)
        importlib.invalidate_caches()
        import linecache

        linecache.clearcache()
        module = importlib.import_module("rag_assets.probe_module")
        fingerprint.code_digest.cache_clear()
        names = ("helper", "stage", "other", "dispatch", "lazily")
        found = {name: fingerprint.code_digest(getattr(module, name)) for name in names}
        fingerprint.code_digest.cache_clear()
        sys.modules.pop("rag_assets.probe_module", None)
        return found

    return of


REACHING = {"helper", "stage", "dispatch", "lazily"}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("return text[:LIMIT]", "return text[1:LIMIT]", REACHING),
        ("LIMIT = 3", "LIMIT = 4", REACHING),
        ("return helper(text)", "return helper(text) + ''", {"stage", "dispatch"}),
        ("text.upper()", "text.lower()", {"other"}),
        ('"""Doc."""', '"""Another."""', set()),
        ("return text[:LIMIT]", "return text[:LIMIT]  # a comment", set()),
        ("return text[:LIMIT]", "return text[ :LIMIT ]", set()),
        ('WORDS = {"a": 1}', 'WORDS = {"a": 2}', set()),
    ],
)
def test_an_edit_changes_exactly_the_stages_that_reach_it(digests, old, new, changed) -> None:
    before, after = digests(MODULE), digests(MODULE.replace(old, new))
    assert {name for name in before if before[name] != after[name]} == changed


def test_parameters_revision_and_libraries_count() -> None:
    def recipe(**settings: object) -> str:
        return fingerprint.recipe(fingerprint.recipe, **settings)

    base = recipe(parameters={"a": 1, "b": 2}, revision=1, libraries=["polars"])
    assert base == recipe(parameters={"b": 2, "a": 1}, revision=1, libraries=["polars"])
    assert len({base, recipe(parameters={"a": 2, "b": 2}, revision=1, libraries=["polars"])}) == 2
    assert base != recipe(parameters={"a": 1, "b": 2}, revision=2, libraries=["polars"])
    assert base != recipe(parameters={"a": 1, "b": 2}, revision=1)
    assert recipe(libraries=["no-such-thing"]) != recipe()
