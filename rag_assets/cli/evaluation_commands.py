"""Commands that judge a knowledge base: evaluate, drift, sweep."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, note, print_json, say
from rag_assets.cli.query_commands import VersionOption
from rag_assets.config import BeirSet, KnowledgeBaseConfig, load_config
from rag_assets.errors import ConfigError

_QUERIES_SHOWN = 20
_SLICES_SHOWN = 10


@command("evaluate")
def evaluate(
    eval_set: Annotated[
        Path | None, typer.Option("--set", help="A .jsonl file or BEIR folder; default: all.")
    ] = None,
    judged: Annotated[
        int | None, typer.Argument(help="The version to judge; the same as --version.")
    ] = None,
    version: VersionOption = None,
    compare: Annotated[
        int | None, typer.Option("--compare", help="Show wins and losses against this version.")
    ] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Ask the queries and measure the answers as well.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Retrieval metrics with confidence intervals. `--compare 6 7` shows what 7 changed."""
    from rag_assets.evaluation.report import reports_as_json
    from rag_assets.refresh import judge
    from rag_assets.refresh.pipeline import Pipeline

    pipeline = Pipeline.current(_settings(config, eval_set))
    asked = version if version is not None else judged
    number = asked if asked is not None else pipeline.versions.live().version
    reports = judge.evaluated(pipeline, number)
    result = reports_as_json(number, reports)
    if compare is not None:
        result["comparison"] = judge.comparison(pipeline, number, compare, reports)
    if answers:
        from rag_assets.refresh.answer_quality import evaluate_answers

        result["answers"] = evaluate_answers(pipeline, number).as_json()
    if as_json:
        print_json(result)
        return
    say(f"index version {number}")
    for report in reports:
        say(
            f"{report.name}: {len(report.results)} queries, {len(report.judged)} judged,"
            f" {len(report.stale)} stale, {len(report.errors)} failed"
        )
        for name, value in report.metrics.items():
            low, high = report.ci95.get(name, (float("nan"), float("nan")))
            say(f"  {name:<16} {value:.3f}  [{low:.3f}, {high:.3f}]")
        say(f"  latency          p50 {report.latency(50):.1f} ms, p95 {report.latency(95):.1f} ms")
    if answers:
        _print_answers(result["answers"])
    if compare is not None:
        _print_comparison(result["comparison"])


@command("drift")
def drift(
    version: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Does the eval set still resemble what is served and what is asked?"""
    from rag_assets.refresh.drift import FINDINGS, find_drift
    from rag_assets.refresh.pipeline import Pipeline

    pipeline = Pipeline.current(load_config(config))
    number = version if version is not None else pipeline.versions.live().version
    found = [find_drift(pipeline, number, name) for name in FINDINGS]
    if as_json:
        print_json({"index_version": number, "findings": [asdict(outcome) for outcome in found]})
        return
    for outcome in found:
        say(f"{'fine' if outcome.passed else 'LOOK'}  {outcome.name}: {outcome.summary}")


@command("sweep")
def sweep(
    grid: Annotated[Path, typer.Argument(help="A grid.yaml: settings, each with values to try.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Try settings beside the live version; choose on one half, confirm on the other."""
    from rag_assets.refresh.pipeline import Pipeline
    from rag_assets.refresh.sweep import load_grid, run_sweep, summary

    settings = _settings(config, None)
    wanted = load_grid(grid)
    total = len(wanted.combinations) + 1
    done = 0

    def count(trial: object) -> None:
        nonlocal done
        done += 1
        note(f"{done} of {total} tried")

    pipeline = Pipeline.current(settings)
    trials = run_sweep(pipeline, wanted, count)
    found = summary(trials, wanted.metric)
    if settings.evaluation.mlflow:
        from rag_assets.refresh.tracking import log_sweep

        log_sweep(pipeline, trials, found)
    if as_json:
        print_json(found)
        return
    _print_sweep(found)


def _print_sweep(found: dict[str, Any]) -> None:
    say(f"{found['metric']} on {found['queries']['tuning']} tuning queries:")
    for trial in sorted(found["trials"], key=lambda trial: -trial["tuning"]):
        low, high = trial["ci95"]
        say(
            f"  {trial['tuning']:.3f} [{low:.3f}, {high:.3f}]  {trial['gain']['mean']:+.3f}"
            f" (p {trial['gain']['p']:.3f})  {trial['latency_ms_p50']:5.1f} ms"
            f"  {_in_words(trial['settings'])}"
        )
    if not found["best"]:
        say("Nothing is better than the configuration as it is.")
        return
    if found["held_out"] is None:
        say(
            f"Best: {_in_words(found['best'])}. No judged query is in the held-out half to confirm"
            " it: `rag-assets evalset propose` drafts more, or set `half: held_out` on some rows."
        )
        return
    gain = found["held_out"]
    low, high = gain["ci95"]
    say(
        f"Best: {_in_words(found['best'])}. On {gain['queries']} held-out queries"
        f" {gain['mean']:+.3f} [{low:+.3f}, {high:+.3f}]:"
        f" {'confirmed' if found['confirmed'] else 'not confirmed'}."
    )


def _in_words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "as configured"


def _settings(config: Path | None, eval_set: Path | None) -> KnowledgeBaseConfig:
    """The configuration, with its eval sets replaced by the one asked for."""
    settings = load_config(config)
    if eval_set is None:
        if not settings.evaluation.sets:
            raise ConfigError(
                f"{settings.path}: evaluation.sets is empty; name one with --set PATH"
            )
        return settings
    if not eval_set.exists():
        raise ConfigError(f"--set {eval_set}: no such file or folder")
    chosen = BeirSet(path=str(eval_set.resolve()), format="beir" if eval_set.is_dir() else "jsonl")
    evaluation = settings.evaluation.model_copy(update={"sets": [chosen]})
    changed = settings.model_copy(update={"evaluation": evaluation})
    changed._path = settings.path
    return changed


def _print_answers(found: Any) -> None:
    say(f"answers of {found['model']} to {found['queries']} queries, {found['errors']} failed")
    for name, row in found["metrics"].items():
        failed = f", {row['failed']} judgements failed" if row["failed"] else ""
        if row["of"]:
            bounds = f"[{row['low']:.3f}, {row['high']:.3f}]"
            say(f"  {name:<18} {row['mean']:.3f}  {bounds}  ({row['of']} answers{failed})")
        else:
            say(f"  {name:<18} no judgement{failed}")


def _print_comparison(comparison: Any) -> None:
    say(f"against version {comparison['version']} (positive: this version is better)")
    for name, found in comparison["sets"].items():
        say(
            f"{name}: {found['queries_compared']} queries compared, {found['wins']} better,"
            f" {found['losses']} worse, top ten {found['overlap@10']:.0%} the same"
        )
        for metric, difference in found["metrics"].items():
            low, high = difference["ci95"]
            if difference["mean"] is not None:
                say(
                    f"  {metric:<16} {difference['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"
                    f"  {difference['wins']} wins, {difference['losses']} losses,"
                    f" p = {difference['p']:.3f}"
                )
        for kind in ("tags", "sources"):
            moved = {k: v for k, v in found[kind].items() if v["mrr@10"] or v["recall@5"]}
            for label, row in list(moved.items())[:_SLICES_SHOWN]:
                say(
                    f"  {kind[:-1]} {label}: mrr@10 {row['mrr@10']:+.3f},"
                    f" recall@5 {row['recall@5']:+.3f} ({row['queries']} queries)"
                )
        for query in found["queries"][:_QUERIES_SHOWN]:
            say(f"    {query['difference']:+.2f}  {query['query']}")
