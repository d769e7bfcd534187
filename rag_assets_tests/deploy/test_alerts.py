"""Every alert that is shipped, firing on a real Prometheus because of what really happened.

The waiting times of the rules are left out here; promtool tests them. What lies days back is made
by moving the dates of real receipts. Pods are the only thing that is made up: there is no cluster.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_assets.costs.ledger import Entry, Ledger, now
from rag_assets.errors import RagError
from rag_assets.refresh.pipeline import Options
from rag_assets.service.keys import KeyStore
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.deploy.programs import (
    alertmanager,
    fetched,
    free_port,
    needs_prometheus,
    prometheus_at,
    until,
)
from rag_assets_tests.deploy.test_monitoring import ALERTS, busy_base
from rag_assets_tests.embedding.service import running_service
from rag_assets_tests.notify.conftest import Receiver, receiver
from rag_assets_tests.operations.conftest import CLI, Start, exporter, start

__all__ = ["exporter", "receiver", "start"]

PODS = b"""\
kube_pod_status_reason{namespace="rag",pod="rag-service-1",reason="Evicted"} 1
kube_pod_status_phase{namespace="rag",pod="rag-service-2",phase="Pending"} 1
"""
TRUE = "Every request concerning payroll goes to desk 3 of the payroll office [1]."


class Model(BaseHTTPRequestHandler):
    """A language model that does what the question says; on GET it is a cluster with two pods."""

    def do_GET(self) -> None:
        self._send(200, PODS, "text/plain; version=0.0.4")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]
        question = asked["content"]
        if "<<passage" not in question:  # it is asked for other wordings
            time.sleep(0.3)
            said = "payroll office"
        elif "Slowly" in question:
            time.sleep(8.3)
            said = TRUE
        elif "Broken" in question:
            self._send(500, b'{"error": {"message": "down"}}', "application/json")
            return
        else:
            said = (
                f"{TRUE} So it stands [7][8][9]."
                if "Wrongly" in question
                else "NOT_IN_KNOWLEDGE_BASE"
            )
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "any"}
        body = json.dumps({**reply, "choices": [choice], "usage": usage}).encode()
        self._send(200, body, "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def model() -> Iterator[str]:
    """The address (host:port) of the model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bases(tmp_path: Path) -> Iterator[Callable[..., SmallBase]]:
    """Make knowledge bases by name."""
    with ExitStack() as stack:

        def make(name: str, **settings: Any) -> SmallBase:
            base = SmallBase(tmp_path / name)
            stack.callback(base.close)
            base.configure(name=name, **settings)
            return base

        yield make


def troubled(base: SmallBase) -> SmallBase:
    """Bad figures, a change that was seven hours on its way, held deletions, a dead source."""
    base.fill(4)
    questions = [
        {"id": subject, "query": f"About {subject}?", "relevant": ["docs/security.md"]}
        for subject in SUBJECTS[:3]
    ]
    (base.root / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    base.write("security.md", "# Zebra\n\nStripes.\n")
    base.configure(evaluation={"sets": ["q.jsonl"]}, retrieval={"mode": "lexical"})
    assert base.refresh()["promoted"]
    history = Path(base.configure().storage) / "index" / "promotions.jsonl"
    first = json.loads(history.read_text())
    earlier = datetime.fromisoformat(first["at"]) - timedelta(hours=12)
    history.write_text(json.dumps(first | {"at": earlier.isoformat()}) + "\n")
    changed = base.write("vacation.md", document("vacation") + "\nA line more.\n")
    os.utime(changed, (time.time() - 7 * 3600,) * 2)
    assert base.refresh()["promoted"]
    base.write("broken.pdf", "%PDF-1.7 this is not really one")
    for subject in SUBJECTS[1:4]:
        (base.documents / f"{subject}.md").unlink()
    dead = {"name": "dead", "type": "rest", "url": "http://127.0.0.1:9/x", "buckets": 1}
    dead["http"] = {"allow_private": True, "timeout": 0.2}
    base.configure(sources=[*base.settings["sources"], dead])
    for _ in range(3):
        base.refresh(insist=True)
    return base


def old(base: SmallBase) -> SmallBase:
    """Failed two days ago and did nothing since; the budget is nearly spent."""
    base.fill(2)
    base.refresh()
    base.write("new.md", "# New\n\nNew words that need a vector.\n")
    refresher = base.refresher()
    store = Path(refresher.pipeline.store.directory)
    shutil.rmtree(store)
    store.write_text("in the way")
    with pytest.raises(RagError):
        refresher.refresh(Options())
    storage = Path(base.configure(costs={"budget_usd": 10.0}).storage)
    for path in (storage / "receipts").glob("*.json"):
        receipt = json.loads(path.read_text())
        for name in ("started", "finished"):
            at = datetime.fromisoformat(receipt[name]) - timedelta(days=2)
            receipt[name] = at.isoformat()
        path.write_text(json.dumps(receipt))
    Ledger(storage).add(Entry(now(), "answer", "openai/y", "key:1", 1, 50, 9, 8.5))
    return base


def blind(base: SmallBase) -> SmallBase:
    receipts = Path(base.configure().storage) / "receipts"
    receipts.mkdir(parents=True)
    (receipts / "TOTALS").write_text("not what was written here")
    return base


def yesterday(folder: Path, exported: str) -> None:
    """What Prometheus would know of a day on which embedding cost nothing."""
    labels = f'knowledge_base="paid",job="rag-exporter",instance="{exported}"'
    sample = f"rag_embedding_cost_usd_total{{{labels}}} 0"
    hours = [f"{sample} {time.time() - 3600 * ago:.0f}" for ago in (44, 36, 28, 26)]
    name = "rag_embedding_cost_usd"
    text = "\n".join([f"# TYPE {name} counter", *hours, "# EOF\n"])
    (folder / "yesterday.txt").write_text(text)
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "yesterday.txt", "series"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.mark.full
@needs_prometheus
def test_every_alert_fires_because_of_what_it_is_for(
    bases: Callable[..., SmallBase],
    small: SmallBase,
    model: str,
    exporter: Callable[..., str],
    start: Start,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    busy_base(small)
    bad, empty = troubled(bases("bad")), bases("empty")
    with running_service() as embeddings:
        paid = bases("paid")
        paid.configure(
            embedding={
                "model": "openai/text-embedding-3-small",
                "dimensions": 8,
                "api_base": embeddings.url,
                "api_key": "k",
                "usd_per_million_tokens": 200_000.0,
            }
        )
        paths = [bad.path, old(bases("old")).path, blind(bases("blind")).path, empty.path]
        exported = urllib.parse.urlsplit(exporter(small.path, *paths, paid.path)).netloc
        llm = {"model": "openai/any", "api_base": f"http://{model}/v1", "api_key": "k"}
        bad.configure(
            llm=llm,
            retrieval={"mode": "lexical", "rewrites": {"count": 1}},
            service={"cache": {"entries": 0}},
        )
        empty.configure(service={"cache": {"entries": 0}})
        _, secret = KeyStore.at(bad.configure().storage).create("prometheus", groups=[])
        service = start(*CLI, "serve", "--config", bad.path, "--also", empty.path, "--port", "0")
        assert service.stdout is not None
        lines = iter(service.stdout.readline, "")
        address = next(line.split("http://")[1].split()[0] for line in lines if "http://" in line)
        (tmp_path / "key").write_text(secret)
        yesterday(tmp_path, exported)
        prometheus = prometheus_at(
            start,
            tmp_path,
            exported,
            address,
            alertmanager(start, receiver, tmp_path),
            rag_nowhere=f"127.0.0.1:{free_port()}",
            kube_state_metrics=model,
        )

        def scraped(query: str) -> Any:
            return fetched(f"{prometheus}/api/v1/query", query=query)["result"]

        until(lambda: scraped("rag_request_seconds_count or rag_audit_failures_total"))
        until(lambda: scraped('rag_embedding_cost_usd_total{knowledge_base="paid"}'))
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=f"http://{address}", headers=headers, timeout=60) as client:
            for number in range(2):
                _ask(client, number)
                time.sleep(2.5)  # counters have to be seen to grow
            audit = Path(bad.configure().storage) / "service" / "audit"
            audit.rename(audit.with_name("moved"))
            audit.write_text("in the way")
            client.post("/v1/search", json={"query": "payroll"})
        paid.fill(3)
        assert paid.refresh()["embeddings"]["usd"] > 1

        def firing() -> set[str]:
            alerts = fetched(f"{prometheus}/api/v1/alerts")["alerts"]
            return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

        names = {alert["alert"] for alert in ALERTS}
        seen: set[str] = set()

        def all_seen() -> bool:
            seen.update(firing())
            return seen >= names

        with suppress(AssertionError):
            until(all_seen, 150)
        assert sorted(names - seen) == []
        inhibited = {name for name in names if name.endswith("Burning")}
        inhibited |= {"RAGBudgetForecast"}
        told = names - inhibited
        until(lambda: all(any(name in str(body) for body in receiver.bodies) for name in told))


def _ask(client: httpx.Client, number: int) -> None:
    """Slow, broken, wrong and unanswerable questions, and one to a base without an index."""
    words = [*["Slowly"] * 2, *["Broken"] * 4, *["Wrongly"] * 3, *["Nothing"] * 16]

    def ask(place: int, word: str) -> None:
        question = f"{word} {number} {place}: who answers requests concerning payroll?"
        client.post("/v1/answer", json={"question": question}).raise_for_status()

    threads = [threading.Thread(target=ask, args=(place, word)) for place, word in enumerate(words)]
    for thread in threads:
        thread.start()
    for place in range(3):
        query = {"query": f"payroll {number} {place}"}
        client.post("/v1/search", json=query).raise_for_status()
        reply = client.post("/v1/search", json={"query": "payroll", "knowledge_base": "empty"})
        assert reply.status_code == 503
    for thread in threads:
        thread.join()
