"""Source `tickets`: a Zendesk-style help desk, by its incremental export.

The export gives every ticket that changed since a cursor, deleted ones too. Tickets and the cursor
behind them are kept in one transaction; comments are read when a ticket's text is asked for.
"""

from datetime import UTC, date, datetime, time
from typing import Any

from rag_assets.config import TicketsConfig
from rag_assets.sources.api import JsonApi, basic
from rag_assets.sources.base import Entry
from rag_assets.sources.fields import value_at
from rag_assets.sources.followed import FollowedSource
from rag_assets.sources.http import HttpClient
from rag_assets.sources.kept import Event

_POSITION = "tickets"
_SINCE = "since"  # the day from which on everything is kept
_GONE = {"deleted", "scrubbed"}


class TicketsSource(FollowedSource):
    """Tickets by their number."""

    def __init__(self, config: TicketsConfig, client: HttpClient | None = None) -> None:
        self._config = config
        credentials = (
            basic(f"{config.user}/token", config.token) if config.user else f"Bearer {config.token}"
        )
        client = client or HttpClient(config.http, secrets=[config.token])
        self._api = JsonApi(config.name, config.url, client, {"Authorization": credentials})
        super().__init__(config)

    def fetch(self, entry: Entry) -> bytes:
        """A ticket with its comments as markdown. Raises: SourceError."""
        path: str | None = f"api/v2/tickets/{entry.key}/comments.json"
        visited: set[str] = set()
        parts = [f"# {entry.title or f'Ticket {entry.key}'}"]
        while path:
            answer = self._api.get(path)
            for comment in self._api.list_at(answer, "comments"):
                if comment.get("public") or self._config.private_comments:
                    text = comment.get("plain_body") or comment.get("body") or ""
                    parts.append(f"## Comment {len(parts)}\n\n{text}".strip())
            path = answer.get("next_page")
            path = self._api.onward(path, visited) if path else None
        return "\n\n".join(parts).encode()

    def _catch_up(self) -> None:
        """Take in what changed, page by page; each page is kept before the next is asked for."""
        self._begin_where_wanted()
        cursor = self._kept.position(_POSITION)
        while True:
            answer = self._api.get("api/v2/incremental/tickets/cursor.json", **self._start(cursor))
            tickets = self._api.list_at(answer, "tickets")
            following = answer.get("after_cursor") or cursor
            events = [_event(ticket, self._config.url) for ticket in tickets]
            self._kept.apply(events, (_POSITION, following) if following else None)
            # The last page has a cursor too: the flag ends the list, the cursor does not.
            if answer.get("end_of_stream", not tickets) or following == cursor:
                return
            cursor = following

    def _begin_where_wanted(self) -> None:
        """Go back to the beginning when an earlier one is wanted than was read from."""
        since, kept_since = self._since.isoformat(), self._kept.position(_SINCE)
        if kept_since is None or since < kept_since:
            self._kept.apply([], (_POSITION, ""))
            self._kept.apply([], (_SINCE, since))

    @property
    def _since(self) -> date:
        return self._config.since or date(1970, 1, 1)

    def _start(self, cursor: str | None) -> dict[str, str | int]:
        if cursor:
            return {"cursor": cursor}
        start = datetime.combine(self._since, time.min, UTC)
        return {"start_time": int(start.timestamp())}


def _event(ticket: dict[str, Any], url: str) -> Event:
    changed = datetime.fromisoformat(ticket["updated_at"])
    # Some changes of a ticket move only the time at which it was generated.
    generated = ticket.get("generated_timestamp") or int(changed.timestamp())
    metadata = {
        "status": ticket.get("status"),
        "priority": ticket.get("priority"),
        "type": ticket.get("type"),
        "tags": ", ".join(ticket.get("tags") or []),
        "channel": value_at(ticket, "via.channel"),
    }
    return Event(
        key=str(ticket["id"]),
        version=int(generated),
        deleted=ticket.get("status") in _GONE,
        token=f"{ticket['updated_at']}-{generated}",
        name=f"{ticket['id']}.md",
        uri=f"{url.rstrip('/')}/agent/tickets/{ticket['id']}",
        title=ticket.get("subject") or None,
        metadata={name: value for name, value in metadata.items() if value},
        modified_at=changed,
    )
