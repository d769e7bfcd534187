"""The measurements as markdown tables and a plot, written between the marks of the docs page."""

import re
from collections.abc import Callable

from benchmarks.incremental.corpus import PARAGRAPHS, STEPS
from benchmarks.incremental.growth import EDITED
from benchmarks.incremental.kill import COST_MS
from benchmarks.incremental.results import Results
from benchmarks.incremental.steps import WRONG
from benchmarks.incremental.systems import ROOT, SYSTEMS

PAGE = ROOT / "docs" / "benchmarks-incremental.md"
PLOT = ROOT / "docs" / "images" / "incremental-growth.png"
_MARK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(results: Results) -> dict[str, str]:
    """Every table there are measurements for, by the name of its mark."""
    made: dict[str, Callable[[Results], list[str]]] = {
        "embedded": _each_size(_embedded),
        "seconds": _each_size(_seconds),
        "summary": _each_size(_summary),
        "kill": _kill,
        "growth": _growth,
        "patching": _patching,
    }
    found = {name: make(results) for name, make in made.items()}
    return {name: "\n".join(lines) + "\n" for name, lines in found.items() if lines}


def write_page(found: dict[str, str]) -> None:
    """Replace what is between the marks of the docs page."""

    def filled(mark: re.Match[str]) -> str:
        return mark[1] + found.get(mark[2], mark[0][len(mark[1]) : -len(mark[3])]) + mark[3]

    PAGE.write_text(_MARK.sub(filled, PAGE.read_text()))


def write_plot(results: Results) -> None:
    """CPU seconds of a refresh after a fixed edit, over the number of documents."""
    sizes = sorted(results.seen("documents", part="growth"))
    if not sizes:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for key in results.seen("system", part="growth"):
        points = [
            (size, results.median("cpu", part="growth", documents=size, system=key))
            for size in sizes
        ]
        points = [(size, seconds) for size, seconds in points if seconds is not None]
        axes.plot(*zip(*points, strict=True), marker="o", label=SYSTEMS[key].name)
    axes.set(
        xlabel="documents", ylabel="CPU seconds", title=f"Refresh after editing {EDITED} documents"
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=90, bbox_inches="tight")


def _each_size(make: Callable[[Results, int], list[str]]) -> Callable[[Results], list[str]]:
    def made(results: Results) -> list[str]:
        lines: list[str] = []
        for size in sorted(results.seen("documents", part="steps")):
            repeats = len(results.seen("repeat", part="steps", documents=size))
            title = f"**{size:,} documents, {size * PARAGRAPHS:,} chunks**, median of {repeats}"
            lines += ["", title] if lines else [title]
            lines += ["", *make(results, size)]
        return lines

    return made


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _systems(results: Results, size: int) -> list[str]:
    found = results.seen("system", part="steps", documents=size)
    return [key for key in SYSTEMS if key in found]


def _embedded(results: Results, size: int) -> list[str]:
    keys = _systems(results, size)
    rows = []
    for step in STEPS:
        where = {"part": "steps", "documents": size, "step": step}
        ideal = results.median("ideal", **where)
        if ideal is None:
            continue
        cells = [_count(results, ideal, {**where, "system": key}) for key in keys]
        rows.append([step, f"{ideal:,.0f}", *cells])
    return _table(["texts embedded", "ideal", *(SYSTEMS[key].name for key in keys)], rows)


def _count(results: Results, ideal: float, where: dict[str, object]) -> str:
    """The number of texts embedded; what is wrong with the index beside it."""
    counts = {int(count) for count in results.values("embedded", **where)}
    if not counts:
        return "–"
    text = " / ".join(f"{count:,}" for count in sorted(counts))
    if any(sum(results.values(name, **where)) for name in WRONG):
        return f"**{text} STALE**" if max(counts) < ideal else f"**{text} WRONG**"
    return text if counts == {int(ideal)} else f"**{text}**"


def _seconds(results: Results, size: int) -> list[str]:
    keys = _systems(results, size)
    rows = []
    for step in STEPS:
        where = {"part": "steps", "documents": size, "step": step}
        cells = []
        for key in keys:
            seconds = results.median("seconds", **where, system=key)
            cpu = results.median("cpu", **where, system=key)
            cells.append("–" if seconds is None else f"{seconds:.2f} ({cpu:.1f})")
        if set(cells) != {"–"}:
            rows.append([step, *cells])
    return _table(["seconds (CPU)", *(SYSTEMS[key].name for key in keys)], rows)


def _summary(results: Results, size: int) -> list[str]:
    keys = _systems(results, size)
    steps = {"part": "steps", "documents": size}

    def figure(name: str, step: str, key: str, scale: float = 1.0) -> str:
        found = results.median(name, **steps, step=step, system=key)
        return "–" if found is None else f"{found * scale:,.2f}"

    each = 1000 / size
    last = results.seen("step", **steps, system=keys[0])[-1]
    rows = [
        ["no change, ms a document, new process"]
        + [figure("seconds", "no change", key, each) for key in keys],
        ["no change, ms a document, warm process"]
        + [figure("again", "no change", key, each) for key in keys],
        ["the same in CPU ms"] + [figure("cpu_again", "no change", key, each) for key in keys],
        ["CPU seconds to start and import"] + [_overhead(results, size, key) for key in keys],
        ["state after cold, MB"] + [figure("state_mb", "cold", key) for key in keys],
        [f"state after “{last}”, MB"] + [figure("state_mb", last, key) for key in keys],
        ["peak RSS, MB"]
        + [f"{max(results.values('rss_mb', **steps, system=key)):,.0f}" for key in keys],
    ]
    return _table(["", *(SYSTEMS[key].name for key in keys)], rows)


def _overhead(results: Results, size: int, key: str) -> str:
    where = {"part": "steps", "documents": size, "step": "no change", "system": key}
    process, inside = results.median("cpu_process", **where), results.median("cpu", **where)
    return "–" if process is None or inside is None else f"{process - inside:.1f}"


def _kill(results: Results) -> list[str]:
    rows = []
    for key in results.seen("system", part="kill"):
        where = {"part": "kill", "system": key}
        twice = results.values("twice", **where)
        wrong = any(sum(results.values(name, **where)) for name in WRONG)
        rows.append(
            [
                SYSTEMS[key].name,
                f"{results.median('before', **where):,.0f}",
                f"{results.median('twice', **where):,.0f}",
                f"{min(twice):,.0f} to {max(twice):,.0f}",
                "no" if wrong else "yes",
            ]
        )
    head = ["", "embedded before the kill", "embedded again", "over the repeats", "right after"]
    return [f"{COST_MS} ms a text.", "", *_table(head, rows)] if rows else []


def _growth(results: Results) -> list[str]:
    sizes = sorted(results.seen("documents", part="growth"))
    rows = []
    for key in [key for key in SYSTEMS if key in results.seen("system", part="growth")]:
        cells = []
        spent: list[float | None] = []
        for size in sizes:
            where = {"part": "growth", "documents": size, "system": key}
            seconds, cpu = results.median("seconds", **where), results.median("cpu", **where)
            cells.append("–" if seconds is None else f"{seconds:.2f} ({cpu:.1f})")
            spent.append(cpu)
        first, last = spent[0], spent[-1]
        rows.append([SYSTEMS[key].name, *cells, f"{last / first:.1f} ×" if first and last else "–"])
    head = ["seconds (CPU)", *(f"{size:,} documents" for size in sizes), "CPU, last / first"]
    return _table(head, rows) if rows else []


def _patching(results: Results) -> list[str]:
    rows = []
    for size in sorted(results.seen("documents", part="patching")):
        where = {"part": "patching", "documents": size}
        refresh, alone = results.median("refresh", **where), results.median("alone", **where)
        assert refresh is not None
        assert alone is not None
        cells = [f"{size * PARAGRAPHS:,}", f"{refresh:.2f}", f"{alone:.2f}"]
        rows.append([*cells, f"{refresh / alone:.2f}"])
    head = ["chunks", "1 % refresh, s", "copy and patch alone, s", "ratio"]
    return _table(head, rows) if rows else []


def show(found: dict[str, str]) -> None:
    """Print the tables."""
    for table in found.values():
        print(f"\n{table}")
