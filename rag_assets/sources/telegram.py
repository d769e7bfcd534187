"""Source `telegram`: messages of channels and groups, from exports and from a bot's updates.

A bot's updates are gone from the server once the next ones are asked for, so they are kept first.
The Bot API does not tell of deleted messages; an export is complete, what it lacks is gone.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_assets.config import TelegramConfig
from rag_assets.errors import SourceError
from rag_assets.sources.api import JsonApi
from rag_assets.sources.base import Entry
from rag_assets.sources.http import HttpClient
from rag_assets.sources.journal import retried
from rag_assets.sources.kept import Event, Kept
from rag_assets.sources.spool import Spool

_POSITION = "updates"
_KINDS = ["message", "edited_message", "channel_post", "edited_channel_post"]
_CHANNEL = -1_000_000_000_000  # the Bot API numbers channels downwards from here


class TelegramSource:
    """Messages by CHAT/MESSAGE, both numbers."""

    def __init__(self, config: TelegramConfig, client: HttpClient | None = None) -> None:
        self._config = config
        client = client or HttpClient(config.http, secrets=[config.token])
        self._api = JsonApi(config.name, f"{config.url}/bot{config.token}", client)
        self._kept = Kept.at(config, config.name)
        self._texts = Spool()

    def scan(self) -> Iterator[Entry]:
        """Every message of the exports and of what the bot received; the newer of two wins.

        Raises: SourceError when an export or the updates cannot be read.
        """
        exported = self._spooled()
        if self._config.token:
            retried(self._caught_up, self._config.name)
        for entry in self._kept.entries():
            mine = exported.get(entry.key)
            if mine is None or _version(mine) <= _version(entry):
                exported.pop(entry.key, None)
                yield entry
        yield from exported.values()

    def forget(self, key: str) -> bool:
        """Remove what is kept of a document."""
        return self._kept.forget(key)

    def fetch(self, entry: Entry) -> bytes:
        """The text of a message. Raises: SourceError when it is gone."""
        if entry.token.endswith("-export"):
            if self._texts.empty:
                self._spooled()
            data = self._texts.read(entry.key)
        else:
            data = self._kept.read(entry.key)
        if data is None:
            raise SourceError(f"{entry.uri}: the message is gone; refresh again")
        return data

    def _caught_up(self) -> None:
        self._kept.follow()
        self._catch_up()

    def _catch_up(self) -> None:
        position = self._kept.position(_POSITION)
        while True:
            answer = self._api.get(
                "getUpdates",
                offset=position,
                timeout=0,
                limit=100,
                allowed_updates=json.dumps(_KINDS),
            )
            updates = self._api.list_at(answer, "result")
            if not updates:
                return
            events = [event for update in updates if (event := self._event(update)) is not None]
            position = str(max(update["update_id"] for update in updates) + 1)
            self._kept.apply(events, (_POSITION, position))

    def _event(self, update: dict[str, Any]) -> Event | None:
        """A message of an update; None for other chats and for messages without text."""
        message = next((update[kind] for kind in _KINDS if kind in update), None)
        if message is None or not self._is_chosen(message["chat"]):
            return None
        text = message.get("text") or message.get("caption")
        if not text:
            return None
        chat, number = message["chat"], message["message_id"]
        sent = int(message["date"])
        version = int(message.get("edit_date") or sent)
        return _made(
            chat["id"], number, text, version, "bot", chat.get("title"), chat.get("username"), sent
        )

    def _is_chosen(self, chat: dict[str, Any]) -> bool:
        names = {str(chat["id"]), str(chat.get("username") or "").lower()} - {""}
        return any(str(wanted).lower().lstrip("@") in names for wanted in self._config.chats)

    def _spooled(self) -> dict[str, Entry]:
        """The exported messages by key, their texts put aside; of two, the newer one."""
        self._texts = Spool()
        found: dict[str, Entry] = {}
        for event in self._exported():
            held = found.get(event.key)
            if held is None or _version(held) < event.version:
                found[event.key] = _entry(event)
                self._texts.add(event.key, event.data or b"")
        return found

    def _exported(self) -> Iterator[Event]:
        for path in self._config.exports:
            for chat in self._chats(Path(path)):
                number = int(chat["id"])
                kind = str(chat.get("type", ""))
                if number > 0 and ("channel" in kind or "supergroup" in kind):
                    number = _CHANNEL - number
                for message in chat["messages"]:
                    text = _plain(message.get("text"))
                    if message.get("type") != "message" or not text:
                        continue
                    sent = int(message.get("date_unixtime") or 0)
                    version = int(message.get("edited_unixtime") or sent)
                    yield _made(
                        number, message["id"], text, version, "export", chat.get("name"), None, sent
                    )

    def _chats(self, path: Path) -> list[dict[str, Any]]:
        """The chats of an export: a file of one, or of all that an account has."""
        try:
            found = json.loads(path.read_bytes())
            chats = found["chats"]["list"] if "chats" in found else [found]
            if not all(isinstance(chat["messages"], list) for chat in chats):
                raise ValueError("no list of messages")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"source {self._config.name!r}: {path} is not a chat export in JSON ({error});"
                " nothing of the source was changed"
            ) from error
        return chats


def _made(
    chat: int,
    number: int,
    text: str,
    version: int,
    origin: str,
    title: str | None,
    username: str | None,
    sent: int,
) -> Event:
    link = username or f"c/{_CHANNEL - chat if chat < _CHANNEL else abs(chat)}"
    return Event(
        key=f"{chat}/{number}",
        version=version,
        data=text.encode("utf-8", "replace"),
        token=f"{version}-{origin}",
        name=f"{number}.txt",
        uri=f"https://t.me/{link}/{number}",
        title=title,
        metadata={
            "chat": title or str(chat),
            "sent_at": datetime.fromtimestamp(sent, UTC).isoformat(),
        },
        modified_at=datetime.fromtimestamp(version, UTC),
    )


def _entry(event: Event) -> Entry:
    return Entry(
        key=event.key,
        uri=event.uri or "",
        name=event.name or "",
        token=event.token or "",
        size=len(event.data or b""),
        modified_at=event.modified_at,
        title=event.title,
        metadata=event.metadata,
    )


def _version(entry: Entry) -> int:
    return int(entry.token.partition("-")[0])


def _plain(text: Any) -> str:
    """The text of an exported message, which is a string or a list of pieces."""
    if isinstance(text, str):
        return text.strip()
    parts = text if isinstance(text, list) else []
    return "".join(p if isinstance(p, str) else str(p.get("text", "")) for p in parts).strip()
