"""Every channel against a receiver, over real HTTP and SMTP."""

import hashlib
import hmac
import socket
import threading

import pytest

from rag_assets.config import EmailConfig, SlackConfig, WebhookConfig
from rag_assets.notify.base import Event, Message, Undelivered
from rag_assets.notify.mail import EmailChannel
from rag_assets.notify.slack import SlackChannel
from rag_assets.notify.webhook import WebhookChannel
from rag_assets_tests.notify.conftest import Mailbox, Receiver

EVENT = Event(
    "refused",
    "refused",
    "x",
    "version 8 was refused by retrieval_quality",
    (("Gate, handbook", "recall@5 0.612, mrr@10 0.498"),),
    ("“may I <b>park</b> & leave?” expected docs/parking.md; came docs/canteen.md",),
    "run-1",
    "http://127.0.0.1:3000/runs/run-1",
)
MESSAGE = Message("0123abcd", "handbook", EVENT, "2026-11-20T10:00:00+00:00")


def test_slack_by_webhook(receiver: Receiver) -> None:
    SlackChannel(SlackConfig(webhook=f"{receiver.url}/services/T/B/x")).send(MESSAGE)
    [body] = receiver.bodies
    assert receiver.got[0][0] == "/services/T/B/x"
    assert body["text"] == "handbook: version 8 was refused by retrieval_quality"
    heading, figures, lines, link = body["blocks"]
    assert heading["text"]["text"].startswith(":red_circle: *handbook: version 8")
    assert figures["fields"][0]["text"] == "*Gate, handbook*\nrecall@5 0.612, mrr@10 0.498"
    assert "may I &lt;b&gt;park&lt;/b&gt; &amp; leave?" in lines["text"]["text"]
    assert link["text"]["text"] == "<http://127.0.0.1:3000/runs/run-1|Open the run>"


def test_slack_by_token(receiver: Receiver) -> None:
    config = SlackConfig(token="xoxb-1", channel="#kb", base_url=f"{receiver.url}/api")
    SlackChannel(config).send(MESSAGE)
    [(path, headers, _)] = receiver.got
    assert path == "/api/chat.postMessage"
    assert headers["authorization"] == "Bearer xoxb-1"
    assert receiver.bodies[0]["channel"] == "#kb"
    receiver.answers = [(200, b'{"ok": false, "error": "channel_not_found"}')]
    with pytest.raises(Undelivered, match="channel_not_found") as refused:
        SlackChannel(config).send(MESSAGE)
    assert not refused.value.passing


@pytest.mark.parametrize(
    ("status", "said", "passing"),
    [(503, b"down", True), (429, b"slow", True), (404, b"no_service", False), (200, b"no", False)],
)
def test_slack_says_no(receiver: Receiver, status: int, said: bytes, passing: bool) -> None:
    receiver.answers = [(status, said)]
    with pytest.raises(Undelivered, match=str(status)) as refused:
        SlackChannel(SlackConfig(webhook=receiver.url)).send(MESSAGE)
    assert refused.value.passing is passing


def test_a_webhook_gets_the_event_signed(receiver: Receiver) -> None:
    config = WebhookConfig(url=f"{receiver.url}/hook", headers={"X-Team": "kb"}, secret="s3cret")
    WebhookChannel(config).send(MESSAGE)
    [(path, headers, body)] = receiver.got
    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert (path, headers["x-team"]) == ("/hook", "kb")
    assert headers["x-rag-signature"] == f"sha256={expected}"
    assert headers["idempotency-key"] == receiver.bodies[0]["id"] == "0123abcd"
    assert receiver.bodies[0]["kind"] == "refused"
    assert receiver.bodies[0]["facts"] == [["Gate, handbook", "recall@5 0.612, mrr@10 0.498"]]
    receiver.answers = [(400, b"no")]
    with pytest.raises(Undelivered, match="400") as refused:
        WebhookChannel(config).send(MESSAGE)
    assert not refused.value.passing


def test_nobody_there_may_pass() -> None:
    for channel in (
        SlackChannel(SlackConfig(webhook="http://127.0.0.1:9/x")),
        WebhookChannel(WebhookConfig(url="http://127.0.0.1:9/x")),
        EmailChannel(mail_config(9)),
    ):
        with pytest.raises(Undelivered) as refused:
            channel.send(MESSAGE)
        assert refused.value.passing


def test_a_receiver_that_speaks_no_http_may_pass() -> None:
    def talk(server: socket.socket) -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"what is this?\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=talk, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        for channel in (
            SlackChannel(SlackConfig(webhook=url)),
            WebhookChannel(WebhookConfig(url=url)),
        ):
            with pytest.raises(Undelivered) as refused:
                channel.send(MESSAGE)
            assert refused.value.passing
        thread.join()


def mail_config(port: int) -> EmailConfig:
    return EmailConfig(
        host="127.0.0.1",
        port=port,
        security="none",
        sender="Knowledge base <kb@example.org>",
        to=["a@example.org", "b@example.org"],
    )


def test_email(mailbox: Mailbox) -> None:
    EmailChannel(mail_config(mailbox.port)).send(MESSAGE)
    [mail] = mailbox.mails
    assert mail["Subject"] == "handbook: version 8 was refused by retrieval_quality"
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Message-ID"] == "<0123abcd@example.org>"
    text = mail.get_content()
    assert "Gate, handbook: recall@5 0.612" in text
    assert "“may I <b>park</b> & leave?”" in text
    assert "http://127.0.0.1:3000/runs/run-1" in text
    for answer, passing in (("451 later", True), ("554 never", False)):
        mailbox.answer = answer
        with pytest.raises(Undelivered, match=answer) as refused:
            EmailChannel(mail_config(mailbox.port)).send(MESSAGE)
        assert refused.value.passing is passing
