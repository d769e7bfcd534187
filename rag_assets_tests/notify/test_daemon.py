"""The whole way with a real Dagster: daemon, sensors, runs in processes of their own, messages."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag_assets_tests.conftest import SUBJECTS, SmallBase
from rag_assets_tests.deploy.programs import free_port
from rag_assets_tests.notify.conftest import Receiver

ROOT = Path(__file__).resolve().parents[2]


def wait_for(receiver: Receiver, count: int, log: Path) -> None:
    end = time.monotonic() + 240
    while len(receiver.got) < count:
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_daemon_tells_of_a_promotion_and_of_a_refusal(
    small: SmallBase, receiver: Receiver, tmp_path: Path
) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@1": 0.75, "min_queries": 3})
    small.configure(notify={"webhook": {"url": receiver.url}, "quiet_minutes": 0})
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    environment = {**os.environ, "DAGSTER_HOME": str(home), "RAG_CONFIG": str(small.path)}
    dagster = Path(sys.executable).with_name("dagster")
    command = [dagster, "dev", "-m", "rag_assets.definitions", "-p", str(free_port())]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        wait_for(receiver, 1, log)
        for subject in SUBJECTS[:3]:
            small.write(f"{subject}.md", "# Nothing\n\nLorem ipsum dolor sit amet.\n")
        wait_for(receiver, 2, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    promoted, refused = receiver.bodies[:2]
    assert promoted["title"] == "version 1 is live"
    assert refused["title"].startswith("version 2 was refused by retrieval_quality")
