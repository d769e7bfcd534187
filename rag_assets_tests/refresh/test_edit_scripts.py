"""After any script of edits the live index equals one built from scratch, and each text was paid
for once."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_assets.lake import Lake
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.refresh.holding import held

NAMES = ("alpha", "beta", "gamma", "delta")
names = st.sampled_from(NAMES)
edits = st.one_of(
    st.tuples(st.just("write"), names, st.integers(1, 4)),
    st.tuples(st.just("delete"), names, st.just(0)),
    st.tuples(st.just("move"), names, st.integers(0, 3)),
    st.tuples(st.just("copy"), names, st.integers(0, 3)),
    st.tuples(st.just("size"), st.sampled_from(["32", "64"]), st.just(0)),
)


def apply(base: SmallBase, edit: tuple[str, str, int]) -> None:
    kind, name, number = edit
    file = base.documents / f"{name}.md"
    other = base.documents / f"{NAMES[number % 4]}-{kind}.md"
    if kind == "write":
        base.write(f"{name}.md", document(name, number))
    elif kind == "delete":
        file.unlink(missing_ok=True)
    elif kind == "move" and file.exists():
        file.rename(other)
    elif kind == "copy" and file.exists():
        shutil.copy(file, other)
    elif kind == "size":
        base.settings["chunking"] = {"default": {"size": int(name), "overlap": 0}}


def texts(base: SmallBase) -> set[str]:
    config = base.configure()
    chunks = Lake.at(config.storage).read("chunks", config.sources[0].partitions)
    return set(chunks["text"])


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(st.lists(edits, min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_script_ends_where_a_clean_build_does(script) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = SmallBase(Path(folder) / "kb")
        base.write("anchor.md", document("anchor", 2))
        seen: set[str] = set()
        for step in [[("write", "alpha", 2)], *script]:
            for edit in step:
                apply(base, edit)
            receipt = base.refresh(confirm_deletes=True)
            now = texts(base)
            assert receipt["embeddings"]["computed"] == len(now - seen)
            counted = receipt["documents"]
            assert counted["listed"] == sum(
                counted[name] for name in ("unchanged", "added", "changed", "quarantined")
            )
            seen |= now
        clean = SmallBase(Path(folder) / "clean")
        shutil.rmtree(clean.documents)
        shutil.copytree(base.documents, clean.documents)
        clean.settings["chunking"] = base.settings["chunking"]
        clean.refresh()
        assert held(base.root / "store") == held(clean.root / "store")
        base.close()
        clean.close()
