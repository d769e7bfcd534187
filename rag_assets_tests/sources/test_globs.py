import pytest

from rag_assets.sources.globs import Selection


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("**/*", ["a.md", "a/b/c.md", "a.b/c"], [".a", "a/.b", ".a/b"]),
        ("*.md", ["a.md", "a/b/c.md"], ["a.txt", ".a.md", "a/.b.md", ".a/b.md"]),
        ("/*.md", ["a.md"], ["a/b.md"]),
        ("docs/*.md", ["docs/a.md"], ["docs/a/b.md", "x/docs/a.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/a/b/c.md"], ["a.md"]),
        ("docs/**", ["docs/a", "docs/a/b"], ["docs", "a/docs/b"]),
        ("**/docs/**", ["docs/a", "x/y/docs/a/b"], ["a/b"]),
        ("docs", ["docs", "docs/a/b", "a/docs/b"], ["docs2/a", "a/.docs"]),
        ("**/.github/**", [".github/a.md", "x/.github/a/b"], [".github/.b", "github/a"]),
        ("page-?.txt", ["page-1.txt"], ["page-10.txt", "page-/.txt"]),
        ("page-[0-9].txt", ["page-1.txt"], ["page-a.txt"]),
        ("page-[!0-9].txt", ["page-a.txt"], ["page-1.txt", "page-/.txt"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a.(b|c)+", ["a.(b|c)+"], ["a.b"]),
        ("a\nb", ["a\nb"], ["a"]),
    ],
)
def test_include(pattern, taken, left):
    chosen = Selection([pattern], [])
    assert [path for path in taken if not chosen.takes(path)] == []
    assert [path for path in left if chosen.takes(path)] == []


@pytest.mark.parametrize(
    ("pattern", "excluded", "kept"),
    [
        ("**/drafts/**", ["drafts/a", "a/drafts/b/c"], ["a", "draft/a"]),
        ("drafts", ["drafts/a", "a/drafts/b"], ["a"]),
        ("*.tmp", ["a.tmp", "a/b.tmp"], ["a.md"]),
        ("/old/*.md", ["old/a.md"], ["old/a/b.md", "x/old/a.md"]),
    ],
)
def test_exclude(pattern, excluded, kept):
    chosen = Selection(["**/*"], [pattern])
    assert [path for path in excluded if chosen.takes(path)] == []
    assert [path for path in kept if not chosen.takes(path)] == []


def test_excluded_and_hidden_folders_are_not_entered():
    chosen = Selection(["**/*"], ["**/drafts/**"])
    assert not chosen.enters("a/drafts")
    assert not chosen.enters(".git")
    assert chosen.enters("a/b")


def test_a_pattern_that_spells_out_a_dot_enters_hidden_folders():
    assert Selection([".github/*.md"], []).enters(".github")


def test_nothing_included_takes_nothing():
    assert not Selection([], []).takes("a")
