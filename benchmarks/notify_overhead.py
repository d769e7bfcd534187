"""What watching costs a refresh: python -m benchmarks.notify_overhead [ROUNDS]

Two knowledge bases of 20 documents, refreshed in turns, the first one changing from round to round.
One of them has all that tells of it: Slack and a plain webhook on the loopback, a budget, and an
exporter in a process of its own that is scraped every second. The other has nothing.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np

from rag_assets.refresh.pipeline import Options
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.notify.conftest import Receiver

_EXPORTER = [sys.executable, "-c", "from rag_assets.cli import main; main()", "exporter"]


def _timed(refresher) -> tuple[float, float]:
    """(wall, CPU) seconds of one refresh; CPU of user and system, ended children included."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    refresher.refresh(Options())
    return time.perf_counter() - wall, sum(os.times()[:4]) - cpu


def _spent(process: subprocess.Popen[str]) -> float:
    """CPU seconds of a running process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _scrapes(url: str, process: subprocess.Popen[str], count: int = 50) -> str:
    """What a scrape costs the exporter."""
    before = _spent(process)
    for _ in range(count):
        with urllib.request.urlopen(url) as reply:
            reply.read()
    return f"{(_spent(process) - before) / count * 1e3:.1f} ms of CPU"


def _others() -> None:
    """The receiver and the scraper, in a process of their own: their CPU is not the refresh's."""
    receiver = Receiver()
    threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
    print(receiver.url, flush=True)
    url = sys.stdin.readline().strip()
    while True:
        with suppress(OSError), urllib.request.urlopen(url) as reply:
            reply.read()
        time.sleep(1.0)


def _ratio(on: list[float], off: list[float]) -> str:
    """Of the medians, with the 95 % interval of 2,000 bootstrap samples of pairs."""
    pairs = np.array([on, off])
    drawn = np.random.default_rng(1).integers(0, len(on), (2000, len(on)))
    medians = np.median(pairs[:, drawn], axis=2)
    low, high = np.percentile(medians[0] / medians[1] - 1, [2.5, 97.5])
    share = statistics.median(on) / statistics.median(off) - 1
    return f"{share:+.1%} [{low:+.1%}, {high:+.1%}]"


def measure(rounds: int) -> None:
    """Print the medians of refreshes with nothing new, and of those with one changed document."""
    command = [sys.executable, "-m", "benchmarks.notify_overhead", "others"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    others = subprocess.Popen(command, text=True, **pipes)
    receiver = others.stdout.readline().strip()
    with tempfile.TemporaryDirectory() as folder:
        bases = {name: SmallBase(Path(folder) / name) for name in ("on", "off")}
        for base in bases.values():
            base.fill(20)
        channels = {"webhook": {"url": receiver}, "slack": {"webhook": receiver}}
        bases["on"].configure(notify={**channels, "quiet_minutes": 0}, costs={"budget_usd": 5.0})
        refreshers = {name: base.refresher() for name, base in bases.items()}
        for refresher in (*refreshers.values(), *refreshers.values()):
            refresher.refresh(Options())
        command = [*_EXPORTER, "--config", bases["on"].path, "--port", "0"]
        exporter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert exporter.stdout is not None
        url = exporter.stdout.readline().split()[-1]
        others.stdin.write(f"{url}\n")
        others.stdin.flush()
        for kind in ("nothing new", "one document changed"):
            spent = {name: ([], []) for name in bases}
            for number in range(rounds):
                for name in sorted(bases, reverse=bool(number % 2)):
                    if kind != "nothing new":
                        text = document("vacation") + f"\nEdition {number}.\n"
                        bases[name].write("vacation.md", text)
                    for values, value in zip(spent[name], _timed(refreshers[name]), strict=True):
                        values.append(value)
            print(f"{kind}: {rounds} rounds")
            for place, what in enumerate(("wall", "CPU")):
                on, off = (spent[name][place] for name in ("on", "off"))
                print(
                    f"  {what:<5} on {statistics.median(on) * 1e3:.0f} ms,"
                    f" off {statistics.median(off) * 1e3:.0f} ms: {_ratio(on, off)}"
                )
        print(f"a scrape of the exporter: {_scrapes(url, exporter)}")
        for process in (exporter, others):
            process.terminate()
            process.wait()
        for base in bases.values():
            base.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["others"]:
        _others()
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
