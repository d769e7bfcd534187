"""Source `jira`: issues that a query finds, with their comments, and attachments."""

import html
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rag_assets.config import JiraConfig
from rag_assets.sources.api import JsonApi, basic
from rag_assets.sources.base import Entry, within_limit
from rag_assets.sources.fields import value_at
from rag_assets.sources.http import HttpClient

_PAGE = 100  # issues or comments a request
_LISTED = "summary,updated,project,issuetype,status,priority,labels,security,attachment"
_KEPT = {"type": "issuetype.name", "status": "status.name", "priority": "priority.name"}


class JiraSource:
    """Issues by KEY, attachments by KEY/ID/NAME. `updated` tells what changed in an issue."""

    def __init__(self, config: JiraConfig, client: HttpClient | None = None) -> None:
        self._config = config
        credentials = basic(config.user, config.token) if config.user else f"Bearer {config.token}"
        client = client or HttpClient(config.http, secrets=[config.token])
        self._api = JsonApi(config.name, config.url, client, {"Authorization": credentials})

    def scan(self) -> Iterator[Entry]:
        """Every issue, and every attachment. Raises: SourceError when the list breaks off."""
        seen: set[str] = set()
        for issue in self._issues():
            # An issue edited while we read may come twice, by its key or by its new place.
            if issue["key"] not in seen:
                seen.add(issue["key"])
                yield self._entry(issue)
                if self._config.attachments:
                    yield from map(
                        lambda file, issue=issue: self._attachment(issue, file),
                        value_at(issue, "fields.attachment") or [],
                    )

    def fetch(self, entry: Entry) -> bytes:
        """An issue as HTML with its comments; the bytes of an attachment. Raises: SourceError."""
        key, *attachment = entry.key.split("/", 2)
        if attachment:
            return self._api.download(entry.uri)
        issue = self._api.get(
            f"rest/api/2/issue/{key}", fields="summary,description", expand="renderedFields"
        )
        title = html.escape(value_at(issue, "fields.summary") or key)
        text = value_at(issue, "renderedFields.description")
        if text is None:
            text = _paragraphs(value_at(issue, "fields.description"))
        parts = [text, *(self._comments(key) if self._config.comments else [])]
        body = "\n".join(filter(None, parts))
        return (
            f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
        ).encode()

    def _issues(self) -> Iterator[dict[str, Any]]:
        """All issues; the server version pages by number, the cloud by a token."""
        asked: dict[str, str | int] = {"maxResults": _PAGE, "fields": _LISTED}
        cloud = self._config.api == "cloud"
        # In order of creation, what is edited while we read keeps its place.
        asked["jql"] = f"({self._config.jql}) ORDER BY created ASC, key ASC"
        path = "rest/api/2/search/jql" if cloud else "rest/api/2/search"
        start = 0
        visited: set[str] = set()
        while True:
            answer = self._api.get(path, **asked)
            found = self._api.list_at(answer, "issues")
            yield from found
            start += len(found)
            if cloud:
                following = answer.get("nextPageToken")
                if answer.get("isLast") or not following:
                    return
                asked["nextPageToken"] = self._api.onward(following, visited)
            else:
                if not found or start >= int(answer.get("total", 0)):
                    return
                asked["startAt"] = start

    def _comments(self, key: str) -> Iterator[str]:
        start = 0
        while True:
            answer = self._api.get(
                f"rest/api/2/issue/{key}/comment",
                startAt=start,
                maxResults=_PAGE,
                expand="renderedBody",
            )
            found = self._api.list_at(answer, "comments")
            # What only a role or a group may read must not reach all who may read the issue.
            yield from (_comment(comment) for comment in found if not comment.get("visibility"))
            start += len(found)
            if not found or start >= int(answer.get("total", 0)):
                return

    def _entry(self, issue: dict[str, Any]) -> Entry:
        fields = issue["fields"]
        metadata = {name: value_at(fields, path) for name, path in _KEPT.items()}
        metadata["project"] = value_at(fields, "project.key")
        metadata["labels"] = ", ".join(fields.get("labels") or [])
        return Entry(
            key=issue["key"],
            uri=f"{self._api.url}/browse/{issue['key']}",
            name=f"{issue['key']}.html",
            token=str(fields["updated"]),
            size=None,
            modified_at=_time(fields["updated"]),
            title=f"{issue['key']}: {fields.get('summary') or ''}".strip(),
            metadata={name: value for name, value in metadata.items() if value},
            acl=_acl(issue),
        )

    def _attachment(self, issue: dict[str, Any], file: dict[str, Any]) -> Entry:
        entry = Entry(
            key=f"{issue['key']}/{file['id']}/{file['filename']}",
            uri=str(file["content"]),
            name=str(file["filename"]),
            token=f"{file['id']}-{file.get('size')}",
            size=file.get("size"),
            modified_at=_time(file.get("created")),
            title=str(file["filename"]),
            metadata={"attached_to": f"{self._config.name}/{issue['key']}"},
            acl=_acl(issue),
        )
        return within_limit(entry, self._config.max_mib)


def _acl(issue: dict[str, Any]) -> tuple[str, ...] | None:
    """Who may read an issue: those of its security level; without one the configuration says."""
    level = value_at(issue, "fields.security.name")
    return (f"security:{level}",) if level else None


def _comment(comment: dict[str, Any]) -> str:
    author = html.escape(value_at(comment, "author.displayName") or "somebody")
    text = comment.get("renderedBody") or _paragraphs(comment.get("body"))
    return f"<h2>Comment by {author}</h2>\n{text}" if text else ""


def _paragraphs(text: Any) -> str:
    """Plain text as HTML, where a server renders nothing."""
    if not isinstance(text, str):
        return ""
    return "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _time(text: Any) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z") if text else None
    except (ValueError, TypeError):
        return None
