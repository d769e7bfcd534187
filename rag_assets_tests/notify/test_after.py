"""Refreshes that are really run, and the messages that arrive of them."""

import threading
from pathlib import Path

import dagster as dg
import pytest
import yaml

from rag_assets.config import load_config
from rag_assets.defs.automation import KNOWLEDGE_BASE_TAG, range_tags
from rag_assets.defs.build import build_definitions
from rag_assets.errors import ConfigError, RagError
from rag_assets.notify import outbox
from rag_assets.notify.after import open_outbox, refresh_ended
from rag_assets.operations.history import History
from rag_assets.refresh.pipeline import Options
from rag_assets.refresh.receipt import Receipts
from rag_assets_tests.conftest import SUBJECTS, SmallBase
from rag_assets_tests.notify.conftest import Mailbox, Receiver


def telling(base: SmallBase, receiver: Receiver, **more: object) -> None:
    webhook = {"url": f"{receiver.url}/hook"}
    base.configure(
        notify={"webhook": webhook, "link": "http://dagster.test", "quiet_minutes": 0, **more}
    )


def test_a_promotion_tells_what_changed_what_the_gate_measured_and_what_it_cost(
    small: SmallBase, receiver: Receiver
) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@5": 0.5, "min_queries": 3})
    telling(small, receiver, slack={"webhook": f"{receiver.url}/slack"})
    receipt = small.refresh()
    small.refresh()
    slack, hook = receiver.bodies
    assert slack["text"] == hook["text"].partition("\n")[0] == "small: version 1 is live"
    facts = dict(hook["facts"])
    assert facts["Documents"] == "4 added, 0 changed, 0 deleted, 0 unchanged"
    tokens = receipt["embeddings"]["tokens"]
    computed = receipt["embeddings"]["computed"]
    assert facts["Embeddings"] == f"{computed} computed, {tokens} tokens, 0 reused"
    assert facts["Cost"] == "$0.0000"
    assert facts["Gate, questions"].startswith("recall@1 ")
    assert hook["link"] == f"http://dagster.test/runs/{receipt['run_id']}"
    assert len(receiver.got) == 2, "a refresh with nothing new is no news"


def test_a_refusal_names_the_check_and_the_worst_queries_once(
    small: SmallBase, receiver: Receiver
) -> None:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), **{"recall@1": 0.75, "min_queries": 3})
    small.refresh()
    telling(small, receiver)
    for subject in SUBJECTS[:3]:
        small.write(f"{subject}.md", "# Nothing\n\nLorem ipsum dolor sit amet.\n")
    refused = small.refresh()
    small.refresh()
    [body] = receiver.bodies
    assert body["kind"] == "refused"
    assert body["title"].startswith("version 2 was refused by ")
    assert "retrieval_quality: " in body["text"]
    assert "“Who answers requests concerning vacation?” expected docs/vacation.md" in body["text"]
    assert "`rag-assets evaluate --version 2 --compare 1`" in body["lines"][-1]
    assert body["run_id"] == refused["run_id"]
    small.fill(4)
    small.write("more.md", "# More\n\nSomething else again.\n")
    assert small.refresh()["promoted"]
    assert [found["kind"] for found in receiver.bodies[1:]] == ["promoted", "resolved"]


def test_held_deletions_quarantine_and_silence(small: SmallBase, receiver: Receiver) -> None:
    small.fill(4)
    telling(small, receiver, events=["held", "quarantine", "silent", "resolved"])
    small.refresh()
    assert receiver.bodies == []
    small.settings["sources"][0]["silent_hours"] = 1e-6
    small.write("broken.pdf", "%PDF-1.7 this is not really one")
    for subject in SUBJECTS[:3]:
        (small.documents / f"{subject}.md").unlink()
    small.refresh()
    small.refresh()
    by_kind = {body["kind"]: body for body in receiver.bodies}
    assert len(receiver.bodies) == len(by_kind) == 3
    assert "3 of 4 documents are gone" in by_kind["held"]["text"]
    assert by_kind["quarantine"]["facts"] == [["docs", "1 of 5 documents"]]
    assert "docs/broken.pdf: " in by_kind["quarantine"]["text"]
    assert by_kind["silent"]["title"] == "nothing changed in docs"
    for kind, command in (("held", "refresh"), ("quarantine", "quarantine"), ("silent", "doctor")):
        last = by_kind[kind]["lines"][-1]
        assert last.startswith("What to do: "), kind
        assert command in last
    small.refresh(confirm_deletes=True)
    assert receiver.bodies[-1]["text"].startswith("small: resolved: a guard holds docs")


def test_a_source_that_cannot_be_listed(small: SmallBase, receiver: Receiver) -> None:
    small.fill(2)
    rows = small.root / "rows.jsonl"
    rows.write_text('{"id": "1", "text": "One row about boats."}\n')
    source = {"name": "rows", "type": "records", "path": "./rows.jsonl", "buckets": 1}
    small.settings["sources"].append(source)
    telling(small, receiver, events=["failed"])
    small.refresh()
    rows.write_text("not json\n")
    for _ in range(3):
        small.refresh()
    [body] = receiver.bodies
    assert body["title"] == "rows could not be listed; what is indexed of it stays"


def test_a_failed_refresh_is_told_and_counted(small: SmallBase, receiver: Receiver) -> None:
    small.fill(2)
    telling(small, receiver, events=["failed"])
    small.refresh()
    small.write("new.md", "# New\n\nNew words that need a vector.\n")
    refresher = small.refresher()
    store = Path(refresher.pipeline.store.directory)
    for segment in store.iterdir():
        segment.unlink()
    store.rmdir()
    store.write_text("in the way")
    for _ in range(2):
        with pytest.raises(RagError):
            refresher.refresh(Options())
    [body] = receiver.bodies
    assert body["title"] == "the refresh failed; the live version is unchanged"
    assert str(store) in body["text"]
    assert History(small.configure().storage).totals().outcomes["failed"] == 2


def test_mail_and_a_receiver_that_is_down_do_not_fail_a_refresh(
    small: SmallBase, receiver: Receiver, mailbox: Mailbox
) -> None:
    small.fill(2)
    mail = {
        "host": "127.0.0.1",
        "port": mailbox.port,
        "security": "none",
        "sender": "kb@example.org",
        "to": ["you@example.org"],
    }
    telling(small, receiver, email=mail)
    receiver.answers = [(503, b"")]
    assert small.refresh()["promoted"]
    assert [mail["Subject"] for mail in mailbox.mails] == ["small: version 1 is live"]
    box = open_outbox(small.configure(), lambda: 4e9)
    assert (box.waiting(), box.flush()) == (1, 0)
    assert [body["kind"] for body in receiver.bodies] == ["promoted", "promoted"]
    assert len({body["id"] for body in receiver.bodies}) == 1
    assert len(mailbox.mails) == 1


def test_two_processes_that_tell_the_same_send_it_once(
    small: SmallBase, receiver: Receiver
) -> None:
    small.fill(2)
    telling(small, receiver)
    receipt = small.refresh()
    config = small.configure()
    threads = [
        threading.Thread(target=refresh_ended, args=(config, receipt["run_id"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.got) == 1


def test_runs_of_the_daemon_are_told_by_sensors(
    small: SmallBase, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_PAUSE", 0.0)
    small.fill(3)
    telling(small, receiver)
    config = load_config(small.path)
    defs = build_definitions(small.path)
    every = config.sources[0].partitions
    with dg.DagsterInstance.ephemeral() as instance:

        def run() -> dg.ExecuteInProcessResult:
            return defs.resolve_job_def("small_refresh").execute_in_process(
                instance=instance,
                tags={KNOWLEDGE_BASE_TAG: "small", **range_tags(every, every)},
                raise_on_error=False,
            )

        def tick(name: str, result: dg.ExecuteInProcessResult) -> None:
            kind = "RUN_FAILURE" if name.endswith("failed") else "RUN_SUCCESS"
            [record] = instance.fetch_run_status_changes(dg.DagsterEventType[kind], limit=1).records
            context = dg.build_run_status_sensor_context(
                sensor_name=name,
                dagster_instance=instance,
                dagster_run=instance.get_run_by_id(result.run_id),
                dagster_event=record.event_log_entry.dagster_event,
            )
            if name.endswith("failed"):
                context = context.for_run_failure()
            sensor = defs.resolve_sensor_def(name)
            sensor(context)

        first = run()
        assert receiver.bodies == []
        tick("small_run_succeeded", first)
        tick("small_run_succeeded", first)
        assert [body["title"] for body in receiver.bodies] == ["version 1 is live"]

        receiver.answers = [(503, b"down")]
        embeddings = Path(config.storage) / "embeddings"
        embeddings.rename(embeddings.with_name("moved"))
        embeddings.write_text("in the way")
        small.write("new.md", "# New\n\nNew words that need a vector.\n")
        second = run()
        assert not second.success
        tick("small_run_failed", second)
        assert len(receiver.bodies) == 2, "it was down"
        messages = defs.resolve_sensor_def("small_messages")
        for _ in range(2):
            with dg.build_sensor_context(instance=instance) as context:
                said = messages(context)
            assert isinstance(said, dg.SkipReason)
            assert said.skip_message == "0 messages wait"
        tick("small_run_failed", second)
        assert len(receiver.bodies) == 3
        assert receiver.bodies[1] == receiver.bodies[2]
        assert receiver.bodies[2]["kind"] == "failed"
        assert "embeddings" in Receipts(config.storage).parts(second.run_id)["failure"]


def test_a_wrong_section_says_what_was_expected(small: SmallBase) -> None:
    small.settings["notify"] = {"slack": {"token": "x"}}
    small.path.write_text(yaml.safe_dump(small.settings))
    with pytest.raises(ConfigError, match=r"notify\.slack: token needs channel"):
        load_config(small.path)
    small.settings["notify"] = {"slack": {"webhook": "${SLACK_WEBHOOK_URL_UNSET:-}"}}
    small.path.write_text(yaml.safe_dump(small.settings))
    assert not load_config(small.path).notify.active
