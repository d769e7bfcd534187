"""What telling people costs a refresh: python -m benchmarks.notify_overhead

Refreshes of 20 documents with a Slack webhook and a plain webhook on the loopback, and how long the
hook at their end took.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path

from rag_assets.defs import execute
from rag_assets.refresh.pipeline import Options
from rag_assets_tests.conftest import SmallBase, document
from rag_assets_tests.notify.conftest import Receiver

_ROUNDS = 10


def measure() -> None:
    """Print the medians of ten refreshes with nothing new, and of ten with one changed document."""
    hook, spent = execute.refresh_ended, []

    def timed(*args, **more) -> None:
        started = time.perf_counter()
        hook(*args, **more)
        spent.append(time.perf_counter() - started)

    execute.refresh_ended = timed
    receiver = Receiver()
    threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        base = SmallBase(Path(folder) / "kb")
        base.fill(20)
        channels = {"webhook": {"url": receiver.url}, "slack": {"webhook": receiver.url}}
        base.configure(notify={**channels, "quiet_minutes": 0}, costs={"budget_usd": 5.0})
        refresher = base.refresher()
        for _ in range(2):
            refresher.refresh(Options())
        for kind in ("nothing new", "one document changed"):
            spent.clear()
            whole = []
            for number in range(_ROUNDS):
                if kind != "nothing new":
                    text = document("vacation") + f"\nEdition {number}.\n"
                    base.write("vacation.md", text)
                started = time.perf_counter()
                refresher.refresh(Options())
                whole.append(time.perf_counter() - started)
            refresh, told = statistics.median(whole), statistics.median(spent)
            share = told / (refresh - told)
            print(
                f"{kind}: {refresh * 1e3:.0f} ms, of it {told * 1e3:.1f} ms telling ({share:.1%})"
            )
        base.close()
    receiver.server.shutdown()


if __name__ == "__main__":
    measure()
