"""Source `confluence`: pages and blog posts with their comments, and attachments.

Lists come from the content resource, which reads the database, not from the search, whose index
lags: what a listing lacks counts as deleted.
"""

import hashlib
import html
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from rag_assets.config import ConfluenceConfig
from rag_assets.errors import SourceError
from rag_assets.sources.api import JsonApi, basic
from rag_assets.sources.base import Entry, within_limit
from rag_assets.sources.fields import value_at
from rag_assets.sources.http import HttpClient
from rag_assets.sources.principals import EVERYONE, readable_by

log = logging.getLogger(__name__)

_PAGE = 100  # content a request
_LISTED = "version,ancestors,metadata.labels,children.attachment.version"
_READERS = ",restrictions.read.restrictions.user,restrictions.read.restrictions.group"


@dataclass(frozen=True, slots=True)
class _Permissions:
    """Who may read a space's pages: of the space itself, and of each restricted page by its id."""

    space: set[str]
    pages: dict[str, set[str]] = field(default_factory=dict)


class ConfluenceSource:
    """Pages by SPACE/ID, attachments by SPACE/ID/ATTACHMENT/NAME.

    A page's token is its version and those of its comments; an attachment's is its own version.
    """

    def __init__(self, config: ConfluenceConfig, client: HttpClient | None = None) -> None:
        self._config = config
        credentials = basic(config.user, config.token) if config.user else f"Bearer {config.token}"
        client = client or HttpClient(config.http, secrets=[config.token])
        self._api = JsonApi(config.name, config.url, client, {"Authorization": credentials})
        self._members: dict[str, set[str]] = {}

    def scan(self) -> Iterator[Entry]:
        """Every page, and every attachment. Raises: SourceError when a list breaks off."""
        self._members = {}
        for space, readers in self._spaces():
            pages = [page for kind in ("page", "blogpost") for page in self._content(space, kind)]
            allowed = _Permissions(readers, {page["id"]: _restriction(page) for page in pages})
            seen: set[str] = set()
            for page in pages:
                # A page that moves while we read may come twice.
                if page["id"] not in seen:
                    seen.add(page["id"])
                    yield from self._entries(space, page, self._acl(page, allowed))

    def fetch(self, entry: Entry) -> bytes:
        """A page as HTML with its comments, or the bytes of an attachment. Raises: SourceError."""
        _, identity, *attachment = entry.key.split("/", 3)
        if attachment:
            return self._api.download(str(entry.uri))
        page = self._api.get(f"rest/api/content/{identity}", expand="body.view")
        parts = [value_at(page, "body.view.value") or ""]
        if self._config.comments:
            comments = self._paged(
                f"rest/api/content/{identity}/child/comment",
                expand="body.view,history",
                depth="all",
                limit=_PAGE,
            )
            parts += [_comment(comment) for comment in comments]
        title = html.escape(page.get("title") or "")
        body = "\n".join(filter(None, parts))
        return f"<html><head><title>{title}</title></head><body>{body}</body></html>".encode()

    def _spaces(self) -> Iterator[tuple[str, set[str]]]:
        """The keys of the chosen spaces, and who may read each of them."""
        expand = "permissions" if self._config.permissions else None
        found = {
            space["key"]: space
            for space in self._paged("rest/api/space", limit=_PAGE, expand=expand)
        }
        missing = [key for key in self._config.spaces if key not in found]
        if missing:
            raise self._api.failed(
                self._config.url,
                f"the spaces {missing} are not there, or the account may not see them",
            )
        for key in self._config.spaces or sorted(found):
            yield key, self._space_readers(found[key])

    def _space_readers(self, space: dict[str, Any]) -> set[str]:
        if not self._config.permissions or "permissions" not in space:
            return set(self._config.acl)
        readers: set[str] = set()
        for permission in space["permissions"]:
            operation = permission.get("operation") or {}
            if (operation.get("operation"), operation.get("targetType")) != ("read", "space"):
                continue
            if permission.get("anonymousAccess"):
                readers.add(EVERYONE)
            readers |= _principals(permission.get("subjects") or {})
        return readers

    def _content(self, space: str, kind: str) -> Iterator[dict[str, Any]]:
        expand = _LISTED + (_READERS if self._config.permissions else "")
        expand += ",children.comment.version" if self._config.comments else ""
        yield from self._paged(
            "rest/api/content",
            spaceKey=space,
            type=kind,
            status="current",
            limit=_PAGE,
            expand=expand,
        )

    def _paged(self, path: str, **params: str | int | None) -> Iterator[dict[str, Any]]:
        """The results of all pages of a list."""
        answer = self._api.get(path, **params)
        visited: set[str] = set()
        while True:
            yield from self._api.list_at(answer, "results")
            following = value_at(answer, "_links.next")
            if not following:
                return
            answer = self._api.get(self._below_url(self._api.onward(following, visited)))

    def _below_url(self, link: str) -> str:
        """A link of an answer below `url`; some installations begin it with their own path."""
        context = urlsplit(self._config.url).path.rstrip("/")
        if context and link.startswith(context + "/"):
            link = link.removeprefix(context)
        return link

    def _entries(self, space: str, page: dict[str, Any], acl: tuple[str, ...]) -> Iterator[Entry]:
        number = str(value_at(page, "version.number"))
        comments = self._children(page, "comment") if self._config.comments else []
        said = ",".join(sorted(f"{c['id']}:{value_at(c, 'version.number')}" for c in comments))
        changed = _time(value_at(page, "version.when"))
        labels = [label["name"] for label in value_at(page, "metadata.labels.results") or []]
        yield Entry(
            key=f"{space}/{page['id']}",
            uri=self._address(page),
            name=f"{page['id']}.html",
            token=f"{number}-{hashlib.sha256(said.encode()).hexdigest()[:16]}" if said else number,
            size=None,
            modified_at=changed,
            title=page.get("title"),
            metadata={"space": space, **({"labels": ", ".join(labels)} if labels else {})},
            acl=acl,
        )
        if self._config.attachments:
            for attachment in self._children(page, "attachment"):
                yield self._attachment(f"{space}/{page['id']}", space, attachment, acl)

    def _attachment(
        self, page: str, space: str, attachment: dict[str, Any], acl: tuple[str, ...]
    ) -> Entry:
        title = str(attachment["title"])
        download = value_at(attachment, "_links.download")
        entry = Entry(
            key=f"{page}/{attachment['id']}/{title}",
            uri=self._api.url + self._below_url(str(download)),
            name=title,
            token=str(value_at(attachment, "version.number")),
            size=value_at(attachment, "extensions.fileSize"),
            modified_at=_time(value_at(attachment, "version.when")),
            title=title,
            metadata={"space": space, "attached_to": f"{self._config.name}/{page}"},
            acl=acl,
            problem=None if download else "the attachment has no address to read it from",
        )
        return within_limit(entry, self._config.max_mib)

    def _children(self, page: dict[str, Any], kind: str) -> list[dict[str, Any]]:
        """All comments or attachments of a page: the listing brings the first ones along."""
        found = list(value_at(page, f"children.{kind}.results") or [])
        following = value_at(page, f"children.{kind}._links.next")
        if following:
            found += self._paged(self._below_url(str(following)))
        return found

    def _acl(self, page: dict[str, Any], allowed: _Permissions) -> tuple[str, ...]:
        """Who may read a page: those whom the space, every page above it and it itself let."""
        levels = [allowed.space]
        for ancestor in page.get("ancestors") or ():
            # A page above that the account does not see hides who may read what is below it.
            levels.append(allowed.pages.get(ancestor["id"], set()))
        levels.append(allowed.pages[page["id"]])
        if not self._config.permissions:
            levels = levels[:1]
        return tuple(sorted(readable_by(levels, self._members_of)))

    def _members_of(self, group: str) -> set[str]:
        if group not in self._members:
            path = f"rest/api/group/{quote(group, safe='')}/member"
            try:
                found = {_user(person) for person in self._paged(path, limit=200)}
            except SourceError as error:
                log.warning("nobody is taken to be in the group %s: %s", group, error)
                found = set()
            self._members[group] = found
        return self._members[group]

    def _address(self, page: dict[str, Any]) -> str:
        shown = value_at(page, "_links.webui")
        return (
            f"{self._api.url}{self._below_url(str(shown))}"
            if shown
            else (f"{self._api.url}/pages/viewpage.action?pageId={page['id']}")
        )


def _restriction(page: dict[str, Any]) -> set[str]:
    """Who may read a page by its own restriction; everyone when it has none."""
    found = _principals(value_at(page, "restrictions.read.restrictions") or {})
    return found or {EVERYONE}


def _principals(subjects: dict[str, Any]) -> set[str]:
    groups = {group["name"] for group in value_at(subjects, "group.results") or []}
    return groups | {_user(user) for user in value_at(subjects, "user.results") or []}


def _user(user: dict[str, Any]) -> str:
    name = user.get("accountId") or user.get("username") or user.get("userKey")
    return f"user:{name}"


def _comment(comment: dict[str, Any]) -> str:
    author = value_at(comment, "history.createdBy.displayName") or "somebody"
    text = value_at(comment, "body.view.value") or ""
    return f"<h2>Comment by {html.escape(str(author))}</h2>\n{text}" if text else ""


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except (ValueError, TypeError):
        return None
