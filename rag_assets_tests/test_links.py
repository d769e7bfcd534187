"""Links in Markdown lead somewhere: files exist, anchors are headings, tables of contents too."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
# Other people's pages, and documents of a company that does not exist.
_ELSEWHERE = re.compile(r"^[a-z]+:", re.IGNORECASE)


def pages() -> list[str]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "eval_sets" / "README.md"]
    return sorted(str(page.relative_to(ROOT)) for page in found)


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What a forge makes of the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *#*$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower())
        slug = words.replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


@pytest.mark.parametrize("name", pages())
def test_links_lead_to_a_file_and_a_heading(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in _LINK.findall(prose(page)):
        if _ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_what_pages_name_in_words_is_there() -> None:
    named = re.compile(
        r"(?<![\w./-])((?:docs|rag_assets|rag_assets_tests|benchmarks|deploy|examples|eval_sets)"
        r"/[\w./-]*\w\.(?:md|py|yaml|yml|json|jsonl|toml|txt))\b"
    )
    missing = {
        (name, path)
        for name in pages()
        for path in named.findall((ROOT / name).read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    }
    assert missing == set()


def test_every_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for target in _LINK.findall(prose(page)):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file() and file not in seen:
                waiting.append(file)
    assert {str(page.relative_to(ROOT)) for page in seen} >= set(pages())
