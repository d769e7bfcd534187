"""Trying settings: every combination of a grid is indexed beside the live version and evaluated.

Settings are chosen on the tuning half of the eval sets and confirmed on the held-out half, because
the best of many is partly the luckiest. Documents come parsed from the lake and vectors from the
embedding store, so that a trial embeds only texts that were never cut before. Nothing of a trial is
ever served: its index lives under STORAGE/sweeps and goes when the sweep ends.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError, field_validator

from rag_assets.config import GATE_METRIC, KnowledgeBaseConfig, TokensRerank
from rag_assets.config.base import Section
from rag_assets.config.wording import in_words
from rag_assets.config.yaml_files import read_yaml
from rag_assets.embedding import token_form
from rag_assets.errors import ConfigError, IndexNotReady
from rag_assets.evaluation.eval_set import half_of
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.evaluation.significance import bootstrap_interval, paired_difference
from rag_assets.records import digest_of
from rag_assets.refresh import judge
from rag_assets.refresh.candidate import make_candidate
from rag_assets.refresh.pipeline import Pipeline

_SECTIONS = ("chunking", "embedding", "retrieval")
_INDEXED = ("chunking", "embedding")  # what, with `rerank`, an index depends on
_MOST = 100  # combinations

Settings = Mapping[str, Any]


class Grid(Section):
    """A grid.yaml: the metric to choose by, and the values of each setting, by its dotted name."""

    metric: str = "mrr@10"
    grid: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]

    @field_validator("metric")
    @classmethod
    def _is_a_metric(cls, name: str) -> str:
        if not GATE_METRIC.match(name):
            raise ValueError(f"expected a metric such as mrr@10, found {name!r}")
        return name

    @field_validator("grid")
    @classmethod
    def _may_be_tried(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for name in grid:
            if name.partition(".")[0] not in _SECTIONS:
                raise ValueError(f"{name}: expected a setting of {', '.join(_SECTIONS)}")
        return grid

    @property
    def combinations(self) -> list[Settings]:
        """Every combination of the values."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())
        ]


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination and how it did. settings: empty for the configuration as it is."""

    settings: Settings
    results: tuple[QueryResult, ...]
    chunks: int
    embedded: int
    seconds: float

    @property
    def latency(self) -> float:
        """Median milliseconds of a search."""
        times = [r.milliseconds for r in self.results if r.milliseconds is not None]
        return float(np.median(times))

    def values(self, metric: str, half: str) -> dict[str, float]:
        """The metric by query of one half."""
        return {
            result.query.id: result.value(metric)
            for result in self.results
            if result.counts_for(metric) and half_of(result.query) == half
        }


def load_grid(path: str | Path) -> Grid:
    """Read a grid.yaml. Raises: ConfigError naming the file, the key and what was expected."""
    data = read_yaml(Path(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected the keys metric and grid")
    try:
        grid = Grid.model_validate(data)
    except ValidationError as error:
        problems = (f"{path}: {in_words(mistake, Grid)}" for mistake in error.errors())
        raise ConfigError("\n".join(problems)) from error
    if len(grid.combinations) > _MOST:
        raise ConfigError(f"{path}: {len(grid.combinations)} combinations; at most {_MOST}")
    return grid


def run_sweep(
    pipeline: Pipeline, grid: Grid, done: Callable[[Trial], None] = lambda trial: None
) -> list[Trial]:
    """Evaluate the configuration as it is, then every combination. LIVE is neither read nor moved.

    done: called after each trial. Raises: ConfigError for a combination that is no configuration,
    before anything is tried.
    """
    every: list[Settings] = [{}, *grid.combinations]
    configs = [with_settings(pipeline.config, settings) for settings in every]
    root = Path(pipeline.storage) / "sweeps"
    trials = []
    try:
        for settings, config in zip(every, configs, strict=True):
            trials.append(_trial(config, settings, root))
            done(trials[-1])
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if not isinstance(pipeline.config.retrieval.rerank, TokensRerank):
            Pipeline(pipeline.config).store.forget_tokens()
    return trials


def with_settings(config: KnowledgeBaseConfig, settings: Settings) -> KnowledgeBaseConfig:
    """The configuration with some settings changed, by dotted name; checked like a file's."""
    data = {name: getattr(config, name).model_dump() for name in _SECTIONS}
    for name, value in settings.items():
        *path, last = name.split(".")
        place: Any = data
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                raise ConfigError(f"{name}: no such setting")
        place[last] = value
    changed = {}
    for name in _SECTIONS:
        section = type(getattr(config, name))
        try:
            changed[name] = section.model_validate(data[name])
        except ValidationError as error:
            shown = ", ".join(f"{setting}={value}" for setting, value in settings.items())
            mistake = in_words(error.errors()[0], section)
            raise ConfigError(f"{shown}: {name}.{mistake}") from error
    made = config.model_copy(update=changed)
    made._path = config.path
    return made


class _TrialPipeline(Pipeline):
    """A pipeline of its own storage but for embeddings, which it shares and only ever adds to."""

    def _settle_tokens(self) -> None:
        form = token_form(self.config.embedding)
        if form is not None and isinstance(self.config.retrieval.rerank, TokensRerank):
            self.store.keep_tokens(form.dimension)


def _trial(config: KnowledgeBaseConfig, settings: Settings, root: Path) -> Trial:
    started = time.perf_counter()
    parts = [getattr(config, name).model_dump() for name in _INDEXED]
    place = root / digest_of(str([*parts, config.retrieval.rerank.type]))[:16]
    own = Pipeline(config)
    scratch = _TrialPipeline(config.model_copy(update={"storage": str(place)}))
    scratch.ledger = own.ledger
    embedded = 0 if place.exists() else _fill(own, scratch)
    version = scratch.versions.candidate()
    reports = judge.searched(scratch, version)
    return Trial(
        settings,
        tuple(_named(result, report) for report in reports for result in report.results),
        scratch.versions.manifest(version).chunks,
        embedded,
        time.perf_counter() - started,
    )


def _fill(own: Pipeline, scratch: Pipeline) -> int:
    """Build the trial's index from the lake's documents; returns how many texts were embedded."""
    every = own.partitions
    documents = own.lake.read("documents", every)
    if documents.is_empty():
        raise IndexNotReady("there are no documents to try settings on; run `rag-assets refresh`")
    place = Path(scratch.storage)
    place.mkdir(parents=True)
    (Path(own.storage) / "embeddings").mkdir(parents=True, exist_ok=True)
    (place / "embeddings").symlink_to(Path(own.storage).resolve() / "embeddings")
    chunks = scratch.chunks(documents, every).frame
    embedded = scratch.embeddings(chunks)
    for stage, frame in (
        ("documents", documents),
        ("chunks", chunks),
        ("embeddings", embedded.frame),
    ):
        scratch.lake.write(stage, every, frame)
    make_candidate(scratch, "sweep")
    return embedded.report.computed


def _named(result: QueryResult, report: EvalReport) -> QueryResult:
    """The result under an id that names its set too."""
    query = replace(result.query, id=f"{report.name}:{result.query.id}")
    return replace(result, query=query)


def summary(trials: Sequence[Trial], metric: str) -> dict[str, Any]:
    """The trials as rows, the best by the tuning half, and whether the held-out half agrees.

    trials: the configuration as it is, first. `confirmed` is True when the 95 % interval of the
    best one's gain on the held-out half lies above 0; None where there is nothing to confirm.
    """
    baseline = trials[0]
    rows = [_row(trial, baseline, metric) for trial in trials]
    best = max(range(len(trials)), key=lambda place: (rows[place]["tuning"], -place))
    held_out = _gain(trials[best], baseline, metric, "held_out") if best else None
    return {
        "metric": metric,
        "queries": {half: len(baseline.values(metric, half)) for half in ("tuning", "held_out")},
        "trials": rows,
        "best": dict(trials[best].settings),
        "held_out": held_out,
        "confirmed": None if held_out is None else held_out["ci95"][0] > 0,
    }


def _row(trial: Trial, baseline: Trial, metric: str) -> dict[str, Any]:
    values = list(trial.values(metric, "tuning").values())
    if not values:
        raise ConfigError("no judged query is in the tuning half; a sweep needs a larger eval set")
    [[low, high]] = bootstrap_interval(np.array(values)[:, None])
    return {
        "settings": dict(trial.settings),
        "tuning": float(np.mean(values)),
        "ci95": [float(low), float(high)],
        "gain": _gain(trial, baseline, metric, "tuning"),
        "latency_ms_p50": trial.latency,
        "chunks": trial.chunks,
        "embedded": trial.embedded,
        "seconds": round(trial.seconds, 2),
    }


def _gain(trial: Trial, baseline: Trial, metric: str, half: str) -> dict[str, Any] | None:
    """The mean gain over the baseline on one half's common queries, with interval and p."""
    ours, theirs = trial.values(metric, half), baseline.values(metric, half)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    found = paired_difference([ours[q] for q in common], [theirs[q] for q in common])
    return {
        "mean": found.mean,
        "ci95": [found.low, found.high],
        "p": found.p_different,
        "queries": found.queries,
    }
