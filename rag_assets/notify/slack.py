"""Slack, through an incoming webhook or a bot's token."""

from http.client import HTTPException
from typing import Any

from rag_assets.config import SlackConfig
from rag_assets.notify.base import GOOD, Message, Undelivered

_TIMEOUT = 5
_LONGEST = 2900  # characters of one block; Slack takes 3,000
_MOST_FACTS = 10  # fields of one block


class SlackChannel:
    """Messages as Slack shows them: a heading, figures in two columns, the rest below."""

    name = "slack"

    def __init__(self, config: SlackConfig) -> None:
        self._config = config

    def send(self, message: Message) -> None:
        """Deliver one message. Raises: Undelivered."""
        try:
            from slack_sdk.errors import SlackApiError, SlackClientError
        except ImportError as error:
            need = "slack: needs slack_sdk; install it with pip install 'rag-assets[notify]'"
            raise Undelivered(need, passing=True) from error
        try:
            status, said = self._sent(message)
        except SlackApiError as error:
            response: Any = error.response
            status, said = response.status_code, response.get("error") or "refused"
        except (SlackClientError, HTTPException, OSError) as error:
            raise Undelivered(f"slack: {error}", passing=True) from error
        if status != 200 or said != "ok":
            passing = status == 429 or status >= 500 or said == "ratelimited"
            raise Undelivered(f"slack: answered {status} ({said})", passing=passing)

    def _sent(self, message: Message) -> tuple[int, str]:
        """(HTTP status, `ok` or what Slack said)."""
        blocks = _blocks(message)
        if self._config.webhook:
            from slack_sdk.webhook import WebhookClient

            hook = WebhookClient(self._config.webhook, timeout=_TIMEOUT, retry_handlers=[])
            answer = hook.send(text=message.title, blocks=blocks)
            return answer.status_code, answer.body.strip()
        from slack_sdk import WebClient

        client = WebClient(
            token=self._config.token,
            base_url=self._config.base_url.rstrip("/") + "/",
            timeout=_TIMEOUT,
            retry_handlers=[],
        )
        reply = client.chat_postMessage(
            channel=self._config.channel or "", text=message.title, blocks=blocks
        )
        return reply.status_code, "ok"


def _blocks(message: Message) -> list[dict[str, Any]]:
    event = message.event
    mark = ":large_green_circle:" if event.kind in GOOD else ":red_circle:"
    blocks: list[dict[str, Any]] = [_section(f"{mark} *{_plain(message.title)}*")]
    fields = [_text(f"*{_plain(name)}*\n{_plain(value)}") for name, value in event.facts]
    if fields:
        blocks.append({"type": "section", "fields": fields[:_MOST_FACTS]})
    if event.lines:
        blocks.append(_section("\n".join(_plain(line) for line in event.lines)))
    if event.link:
        blocks.append(_section(f"<{event.link}|Open the run>"))
    return blocks


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text if len(text) <= _LONGEST else text[:_LONGEST] + "…"}


def _plain(text: str) -> str:
    """Text of documents and queries must not become links or mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
