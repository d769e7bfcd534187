"""Commands of the canary: compare its arms, promote what it proved."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, note, print_json, say
from rag_assets.config import load_config

_FEW = 100  # answers of an arm below which hardly any difference shows


@command("canary")
def canary(
    days: Annotated[int, typer.Option(help="How many days back.", min=1)] = 30,
    experiment: Annotated[
        str | None, typer.Option(help="Which one, such as v8; default: the newest.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the canary with what is live: both arms' figures and their difference."""
    from rag_assets.evaluation.arms import ARMS, compare_arms, read_experiment

    settings = load_config(config)
    name, given = read_experiment(settings.storage, settings.name, days, experiment)
    found = compare_arms(given)
    counts = {arm: sum(one.arm == arm for one in given) for arm in ARMS}
    if as_json:
        rows = [asdict(row) for row in found]
        print_json({"experiment": name, "questions": counts, "figures": rows})
        return
    if not given:
        say(f"No canary answered anything in the last {days} days.")
        return
    say(f"Canary {name}: {counts['canary']} questions; live: {counts['live']}")
    say(f"  {'':<16}{'live':<30}{'canary':<30}{'difference':<30}")
    for row in found:
        cells = [_shown(row.values[arm], row.intervals[arm]) for arm in ARMS]
        cells.append(_shown(row.difference, row.interval, signed=True))
        say(f"  {row.name:<16}" + "".join(f"{cell:<30}" for cell in cells) + row.verdict)
    if min(counts.values()) < _FEW:
        note(f"fewer than {_FEW} questions on an arm: hardly any difference can show yet")


def _shown(
    value: float | None, interval: tuple[float, float] | None, *, signed: bool = False
) -> str:
    if value is None or interval is None:
        return "-"
    form = "+.4f" if signed else ".4f"
    return f"{value:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


@command("promote")
def promote(
    version: Annotated[int | None, typer.Argument(help="Default: the newest that waits.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a version live that passed its gate and waits, as `canary.version: candidate` has it."""
    from rag_assets.index.versions import Versions
    from rag_assets.mirror import published

    settings = load_config(config)
    versions = Versions(settings.storage)
    with published(settings), versions.publishing():
        if version is None:
            version = versions.waiting() or versions.candidate()  # which says what is wrong with it
        pointer = versions.promote(version)
        removed = versions.collect_garbage(settings.index.keep_versions)
    facts: dict[str, Any] = {
        "live_version": pointer.version,
        "previous": pointer.previous,
        "removed": removed,
    }
    if as_json:
        print_json(facts)
    else:
        before = "" if pointer.previous is None else f"; it was version {pointer.previous} before"
        say(f"Version {pointer.version} is live{before}.")
