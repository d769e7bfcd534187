"""Trying settings without touching what is served."""

import json

import pytest
from typer.testing import CliRunner

from rag_assets.cli import evaluation_commands
from rag_assets.cli.app import app
from rag_assets.config import load_config
from rag_assets.errors import ConfigError
from rag_assets.refresh import judge
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.sweep import Grid, load_grid, run_sweep, with_settings
from rag_assets_tests.conftest import SUBJECTS, SmallBase


def test_the_best_is_chosen_on_one_half_and_judged_on_the_other(small: SmallBase) -> None:
    small.fill(12)
    small.ask_about(list(SUBJECTS[:12]), **{"hit@5": 0.1, "min_queries": 2})
    assert small.refresh()["promoted"]
    index = small.root / "store" / "index"
    before = sorted((str(p), p.stat().st_mtime_ns) for p in index.iterdir())
    grid = small.root / "grid.yaml"
    grid.write_text(
        "metric: hit@1\ngrid: {chunking.default.size: [64, 32], retrieval.mode: [lexical, dense]}\n"
    )
    done = CliRunner().invoke(app, ["sweep", str(grid), "--config", str(small.path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [trial["settings"] for trial in found["trials"]] == [
        {},
        {"chunking.default.size": 64, "retrieval.mode": "lexical"},
        {"chunking.default.size": 64, "retrieval.mode": "dense"},
        {"chunking.default.size": 32, "retrieval.mode": "lexical"},
        {"chunking.default.size": 32, "retrieval.mode": "dense"},
    ]
    same, smaller = found["trials"][1], found["trials"][3]
    # What is embedded already is not embedded again, and the same index serves both modes.
    assert (found["trials"][0]["embedded"], same["embedded"]) == (0, 0)
    assert smaller["embedded"] > 0 == found["trials"][4]["embedded"]
    assert smaller["chunks"] > same["chunks"]
    assert found["queries"]["tuning"] + found["queries"]["held_out"] == 12
    assert found["trials"][0]["gain"]["mean"] == 0
    best = max(trial["tuning"] for trial in found["trials"])
    chosen = next(t for t in found["trials"] if t["settings"] == found["best"])
    assert chosen["tuning"] == best
    assert (found["confirmed"] is None) == (found["best"] == {})
    assert not (small.root / "store" / "sweeps").exists()
    assert sorted((str(p), p.stat().st_mtime_ns) for p in index.iterdir()) == before


def test_what_nothing_confirms_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    gain = {"mean": 0.1, "ci95": [0.0, 0.2], "p": 0.04, "queries": 8}
    trial = {"tuning": 0.5, "ci95": [0.4, 0.6], "gain": gain, "latency_ms_p50": 1.0}
    trials = [trial | {"settings": {}}, trial | {"settings": {"retrieval.k": 3}, "tuning": 0.6}]
    found = {"metric": "mrr@10", "queries": {"tuning": 8}, "trials": trials, "held_out": None}
    evaluation_commands._print_sweep(found | {"best": {"retrieval.k": 3}, "confirmed": None})
    printed = capsys.readouterr().out
    assert "Best: retrieval.k=3. No judged query is in the held-out half" in printed
    evaluation_commands._print_sweep(found | {"best": {}, "confirmed": None})
    assert "Nothing is better than the configuration as it is." in capsys.readouterr().out


def test_a_trial_without_rerank_leaves_the_token_vectors_and_the_ranking(small: SmallBase) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), min_queries=2)
    small.refresh()
    pipeline = Pipeline(small.configure())
    before = pipeline.store.size()
    served = judge.evaluated(pipeline, 1)[0]
    grid = Grid(grid={"retrieval.rerank": ["none"]})
    first, without = run_sweep(pipeline, grid)
    assert Pipeline(small.configure()).store.size() == before
    # As configured a trial ranks like the live version, with the same token vectors.
    assert [r.scores for r in first.results] == [r.scores for r in served.results]
    assert [r.scores for r in without.results] != [r.scores for r in served.results]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {storage: [x]}", "expected a setting of chunking"),
        ("grid: {}", "grid"),
        ("metric: speed\ngrid: {retrieval.k: [1]}", "expected a metric such as mrr@10"),
        ("a: [", "cannot be read as YAML"),
        (f"grid: {{retrieval.k: {list(range(101))}}}", "101 combinations; at most 100"),
    ],
)
def test_a_grid_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_grid(tmp_path / "grid.yaml")


def test_settings_are_checked_like_a_file(small: SmallBase) -> None:
    config = load_config(small.path)
    changed = with_settings(config, {"retrieval.weights.rerank": 0.5, "chunking.default.size": 99})
    assert (changed.retrieval.weights.rerank, changed.chunking.default.size) == (0.5, 99)
    assert config.chunking.default.size == 64
    for wrong, message in (
        ({"retrieval.mode": "magic"}, "mode"),
        ({"retrieval.mode.x": 1}, "no such setting"),
        ({"retrieval.speed": 1}, "speed"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_settings(config, wrong)
