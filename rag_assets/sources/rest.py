"""Source `rest`: the records of any API that answers in JSON, described in the configuration."""

import hashlib
import json
import re
from collections.abc import Container, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from rag_assets.config import RestConfig
from rag_assets.errors import SourceError
from rag_assets.sources.base import Entry
from rag_assets.sources.fields import moment_of, scalar_of, text_at, value_at, written
from rag_assets.sources.http import HttpClient, Reply, Unreachable
from rag_assets.sources.spool import Spool

_NEXT_LINK = re.compile(r'<([^<>]*)>[^,]*;\s*rel="?next"?', re.IGNORECASE)
_MOST_PAGES = 100_000


class RestSource:
    """All records of an API. A scan reads every page; texts go to a temporary file as they come.

    A record without id or text, and another one with an id that was there before, is listed with
    its problem; one that the API marks as deleted is not listed, and one that comes again because
    others moved while pages were read is listed once.
    """

    def __init__(self, config: RestConfig, client: HttpClient | None = None) -> None:
        self._config = config
        self._client = client or HttpClient(config.http)
        self._texts = Spool()

    def scan(self) -> Iterator[Entry]:
        """Every record. Raises: SourceError when any page fails or is not what was described."""
        self._texts = Spool()
        seen: dict[str, str] = {}
        number = 0
        for page in self._pages():
            for record in page:
                number += 1
                if self._is_deleted(record):
                    continue
                said = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
                if seen.get(written(value_at(record, self._config.id)).strip()) == said:
                    continue
                entry = self._entry(record, number, seen)
                seen[entry.key] = said
                yield entry

    def fetch(self, entry: Entry) -> bytes:
        """The text of a record as the last scan read it. Raises: SourceError when it had none."""
        if self._texts.empty:
            for _ in self.scan():
                continue
        text = self._texts.read(entry.key)
        if text is None:
            raise SourceError(f"{entry.uri}: the record is gone; refresh again")
        return text

    def _pages(self) -> Iterator[list[Any]]:
        paging = self._config.pagination
        url: str | None = _with_params(self._config.url, self._config.params)
        if paging.kind in {"page", "offset"}:
            url = _with_params(
                self._config.url, {**self._config.params, paging.param: paging.first}
            )
        visited: set[str] = set()
        count = 0
        while url is not None:
            # Some APIs give a next page for ever: the same address again means the end.
            if url in visited or len(visited) >= _MOST_PAGES:
                return
            visited.add(url)
            reply = self._asked(url)
            answer = self._answer(reply)
            records = value_at(answer, self._config.records)
            if not isinstance(records, list):
                raise self._failed(reply.url, f"no list at records: {self._config.records!r}")
            yield records
            count += len(records)
            url = self._next(url, reply, answer, len(records), count)

    def _asked(self, url: str) -> Reply:
        try:
            return self._client.get(url)
        except Unreachable as error:
            raise SourceError(
                f"source {self._config.name!r}: {error}; nothing of the source was changed"
            ) from error

    def _answer(self, reply: Reply) -> Any:
        if reply.status != 200:
            raise self._failed(reply.url, f"status {reply.status}")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise self._failed(reply.url, f"the answer is not JSON: {error}") from error

    def _next(self, asked: str, reply: Reply, answer: Any, found: int, count: int) -> str | None:
        """The address of the next page, None behind the last one. It is made from the one that was
        asked: where that was redirected to must not get the credentials."""
        paging = self._config.pagination
        if paging.more and not value_at(answer, paging.more):
            return None
        if paging.kind == "link_header":
            link = _NEXT_LINK.search(reply.headers.get("link", ""))
            return self._same_host(reply.url, link[1]) if link else None
        if paging.kind == "next_url":
            target = value_at(answer, paging.path)
            return self._same_host(reply.url, str(target)) if target else None
        if paging.kind == "cursor":
            cursor = value_at(answer, paging.path)
            return _with_params(asked, {paging.param: cursor}) if cursor and found else None
        if paging.kind in {"page", "offset"} and found:
            step = dict(parse_qsl(urlsplit(asked).query)).get(paging.param, "0")
            following = int(step) + 1 if paging.kind == "page" else paging.first + count
            return _with_params(asked, {paging.param: following})
        return None

    def _same_host(self, url: str, target: str) -> str:
        """The address of the next page; credentials must not follow it to another host."""
        following = urljoin(url, target)
        if urlsplit(following).netloc != urlsplit(self._config.url).netloc:
            raise self._failed(url, f"its next page is on another host: {following}")
        return following

    def _is_deleted(self, record: Any) -> bool:
        return any(value_at(record, key) in values for key, values in self._config.deleted.items())

    def _entry(self, record: Any, number: int, seen: Container[str]) -> Entry:
        config = self._config
        identity = written(value_at(record, config.id)).strip()
        data = text_at(record, config.text).encode()
        problem = None
        if not identity:
            problem = f"record {number} has no id at {config.id!r}"
        elif identity in seen:
            problem = f"duplicate id {identity!r}: record {number} has the id of an earlier one"
        elif not data.strip():
            problem = f"record {number} has no text at {config.text!r}"
        key = identity if identity and identity not in seen else f"{identity}#record-{number}"
        if problem is None:
            self._texts.add(key, data)
        changed = written(value_at(record, config.updated_at)) if config.updated_at else ""
        metadata = {name: scalar_of(value_at(record, name)) for name in config.metadata_fields}
        return Entry(
            key=key,
            uri=text_at(record, config.uri) or f"{config.url}/{quote(key, safe='')}",
            name=f"{key}.txt",
            token=changed or hashlib.sha256(data).hexdigest()[:32],
            size=len(data),
            modified_at=moment_of(changed),
            title=text_at(record, config.title) or None,
            metadata={name: value for name, value in metadata.items() if value is not None},
            problem=problem,
        )

    def _failed(self, url: str, why: str) -> SourceError:
        return SourceError(
            f"source {self._config.name!r}: {self._client.shown(url)}: {why};"
            " nothing of the source was changed"
        )


def _with_params(url: str, params: dict[str, Any]) -> str:
    """An address with these parameters instead of its own of these names."""
    parts = urlsplit(url)
    own = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value) for name, value in own if name not in params]
    query += [(name, str(value)) for name, value in params.items()]
    return parts._replace(query=urlencode(query)).geturl()
