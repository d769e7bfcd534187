"""Source `github`: files of a repository at a ref, its issues and pull requests, its discussions.

Files come through git itself: one shallow fetch a new commit, and nothing when there is none. The
hash of a file's bytes is its token, so that a listing is exact and two refs compare for free.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes, urlsplit

from rag_assets.config import GithubConfig
from rag_assets.errors import SourceError
from rag_assets.sources.api import JsonApi
from rag_assets.sources.base import Entry
from rag_assets.sources.fields import printable, value_at
from rag_assets.sources.globs import Selection
from rag_assets.sources.http import HttpClient

if TYPE_CHECKING:
    from dulwich.config import StackedConfig
    from dulwich.repo import Repo

_PAGE = 100
_LINK_MODE, _MODULE_MODE = 0o120000, 0o160000
_FETCHED = b"refs/heads/fetched"
_NEXT = re.compile(r'<([^<>]*)>[^,]*;\s*rel="next"')
_LIST = """query($owner: String!, $name: String!, $after: String) {
  repository(owner: $owner, name: $name) { discussions(first: 100, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { number title url updatedAt category { name } } } } }"""
_ONE = """query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) { discussion(number: $number) {
    title body author { login }
    comments(first: 100, after: $after) { pageInfo { hasNextPage endCursor }
      nodes { body author { login }
        replies(first: 100) { nodes { body author { login } } } } } } } }"""


class GithubSource:
    """Files by files/PATH, issues and pull requests by issues/NUMBER, discussions/NUMBER."""

    def __init__(self, config: GithubConfig, client: HttpClient | None = None) -> None:
        self._config = config
        client = client or HttpClient(config.http, secrets=[config.token])
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        self._api = JsonApi(config.name, config.url, client, headers)
        self._files = RepositoryFiles(config)

    def scan(self) -> Iterator[Entry]:
        """Everything that is chosen. Raises: SourceError when any list breaks off."""
        parts: list[Iterator[Entry]] = []
        if self._config.files:
            parts.append(self._files.scan())
        if self._config.issues:
            parts.append(self._issues())
        if self._config.discussions:
            parts.append(self._discussions())
        return chain.from_iterable(parts)

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of a file; an issue or a discussion as markdown. Raises: SourceError."""
        kind, _, rest = entry.key.partition("/")
        if kind == "files":
            return self._files.fetch(entry)
        texts = self._issue(rest) if kind == "issues" else self._discussion(int(rest))
        return "\n\n".join(texts).encode()

    def _issues(self) -> Iterator[Entry]:
        seen: set[int] = set()
        path = f"repos/{self._config.repository}/issues"
        # By creation, what is edited while we read keeps its place.
        for issue in self._paged(path, state="all", sort="created", direction="asc"):
            if issue["number"] in seen:
                continue
            seen.add(issue["number"])
            metadata = {
                "kind": "pull request" if issue.get("pull_request") else "issue",
                "state": issue.get("state"),
                "labels": ", ".join(label["name"] for label in issue.get("labels") or []),
            }
            yield Entry(
                key=f"issues/{issue['number']}",
                uri=issue["html_url"],
                name=f"{issue['number']}.md",
                token=issue["updated_at"],
                size=None,
                modified_at=datetime.fromisoformat(issue["updated_at"]),
                title=issue["title"],
                metadata={name: value for name, value in metadata.items() if value},
            )

    def _issue(self, number: str) -> Iterator[str]:
        path = f"repos/{self._config.repository}/issues/{number}"
        issue = self._api.get(path)
        yield f"# {issue['title']}"
        yield issue.get("body") or ""
        for comment in self._paged(f"{path}/comments"):
            yield _said(value_at(comment, "user.login"), comment.get("body"))
        if issue.get("pull_request"):
            reviews = f"repos/{self._config.repository}/pulls/{number}/comments"
            for comment in self._paged(reviews):
                on = f" on `{comment.get('path')}`" if comment.get("path") else ""
                yield _said(value_at(comment, "user.login"), comment.get("body"), on)

    def _paged(self, path: str, **params: str | int) -> Iterator[dict[str, Any]]:
        """The elements of all pages of a list."""
        found, headers = self._api.page(path, per_page=_PAGE, **params)
        visited: set[str] = set()
        while True:
            if not isinstance(found, list):
                raise self._api.failed(self._config.url, f"{path} is not a list")
            yield from found
            following = _NEXT.search(headers.get("link", ""))
            if following is None:
                return
            found, headers = self._api.page(self._api.onward(following[1], visited))

    def _discussions(self) -> Iterator[Entry]:
        after: str | None = None
        seen: set[int] = set()
        visited: set[str] = set()
        while True:
            found = self._asked(_LIST, "repository.discussions", after=after)
            # One that is written to while we read moves to the front and may come twice.
            fresh = [one for one in found["nodes"] if one["number"] not in seen]
            seen.update(one["number"] for one in fresh)
            for one in fresh:
                yield Entry(
                    key=f"discussions/{one['number']}",
                    uri=one["url"],
                    name=f"{one['number']}.md",
                    token=one["updatedAt"],
                    size=None,
                    modified_at=datetime.fromisoformat(one["updatedAt"]),
                    title=one["title"],
                    metadata={"kind": "discussion", "category": value_at(one, "category.name")},
                )
            if not found["pageInfo"]["hasNextPage"]:
                return
            after = self._api.onward(found["pageInfo"]["endCursor"], visited)

    def _discussion(self, number: int) -> Iterator[str]:
        after = None
        visited: set[str] = set()
        while True:
            found = self._asked(_ONE, "repository.discussion", number=number, after=after)
            if after is None:
                yield f"# {found['title']}"
                yield found["body"] or ""
            for comment in found["comments"]["nodes"]:
                for said in (comment, *comment["replies"]["nodes"]):
                    yield _said(value_at(said, "author.login"), said["body"])
            if not found["comments"]["pageInfo"]["hasNextPage"]:
                return
            after = self._api.onward(found["comments"]["pageInfo"]["endCursor"], visited)

    def _asked(self, query: str, wanted: str, **variables: object) -> dict[str, Any]:
        owner, _, name = self._config.repository.partition("/")
        variables = {"owner": owner, "name": name, **variables}
        answer = self._api.post("graphql", {"query": query, "variables": variables})
        found = value_at(answer, f"data.{wanted}")
        if answer.get("errors") or not isinstance(found, dict):
            why = value_at(answer, "errors.0.message") or "nothing was found"
            raise self._api.failed(f"{self._config.url}/graphql", str(why))
        return found


class RepositoryFiles:
    """The files of a commit, in a bare repository that holds the newest fetched commits."""

    def __init__(self, config: GithubConfig) -> None:
        self._config = config
        self._path = Path(config.path) / "repository.git"
        self._address = f"{config.git_url.rstrip('/')}/{config.repository}"
        self._chosen = Selection(config.include, config.exclude)

    def scan(self) -> Iterator[Entry]:
        """Every chosen file of the newest commit. Raises: SourceError."""
        with self._opened() as repository:
            commit = self._newest(repository)
            for path, blob in self._tree(repository, commit):
                yield self._entry(path, blob)

    def fetch(self, entry: Entry) -> bytes:
        """The bytes of a file in the commit that was fetched last. Raises: SourceError."""
        from dulwich.object_store import tree_lookup_path

        with self._opened() as repository:
            ref = quote(self._config.ref or "HEAD")
            try:
                tree = _tree_of(repository, repository.refs[_FETCHED])
                # The address holds every byte of a name, the key only what can be printed.
                path = unquote_to_bytes(entry.uri.removeprefix(f"{self._address}/blob/{ref}/"))
                _, blob = tree_lookup_path(repository.__getitem__, tree, path)
                data = bytes(repository[blob].as_raw_string())
            except KeyError as error:
                raise SourceError(f"{entry.uri}: is gone; refresh again") from error
        if len(data) > self._config.max_mib << 20:
            found = len(data) >> 20
            raise SourceError(f"too large: {found} MiB, max_mib: {self._config.max_mib}")
        return data

    def _opened(self) -> "Repo":
        from dulwich.repo import Repo

        if (self._path / "HEAD").exists():
            return Repo(str(self._path))
        self._path.mkdir(parents=True, exist_ok=True)
        return Repo.init_bare(str(self._path))

    def _newest(self, repository: "Repo") -> bytes:
        """The commit that the ref names at the server, fetched unless it is here."""
        from dulwich.client import get_transport_and_path
        from dulwich.errors import GitProtocolError, NotGitRepository

        token = self._config.token
        login = {"username": "x-access-token", "password": token} if token else {}
        if urlsplit(self._address).scheme == "git":
            login = {}
        chosen: list[bytes] = []

        def wanted(refs: dict[bytes, bytes], **_: object) -> list[bytes]:
            chosen.append(self._commit_of(refs))
            return [] if chosen[0] in repository.object_store else chosen

        try:
            client, path = get_transport_and_path(self._address, self._limits(), **login)
            client.fetch(path, repository, wanted, depth=1)
        except (GitProtocolError, NotGitRepository, OSError, KeyError, ValueError) as error:
            raise self._failed(error) from error
        except Exception as error:  # urllib3 has its own family
            if type(error).__module__.partition(".")[0] not in {"urllib3", "dulwich"}:
                raise
            raise self._failed(error) from error
        # What is named here need not be sent again with the next commit.
        repository.refs[_FETCHED] = chosen[0]
        return chosen[0]

    def _limits(self) -> "StackedConfig":
        """The settings of git on this machine, and how long a server may stay silent."""
        from dulwich.config import ConfigDict, StackedConfig

        limits = ConfigDict()
        limits.set((b"http",), b"timeout", str(self._config.http.timeout).encode())
        return StackedConfig([limits, *StackedConfig.default_backends()])

    def _commit_of(self, refs: dict[bytes, bytes]) -> bytes:
        name = self._config.ref.encode()
        places = [b"refs/heads/" + name, b"refs/tags/" + name, name] if name else [b"HEAD"]
        for place in places:
            if place in refs:
                return refs.get(place + b"^{}", refs[place])
        raise KeyError(f"no branch or tag {self._config.ref or 'HEAD'!r}")

    def _tree(self, repository: "Repo", commit: bytes) -> Iterator[tuple[str, bytes]]:
        from dulwich.object_store import iter_tree_contents

        for item in iter_tree_contents(repository.object_store, _tree_of(repository, commit)):
            path = item.path.decode("utf-8", "surrogateescape")
            if item.mode not in {_LINK_MODE, _MODULE_MODE} and self._chooses(path):
                yield path, item.sha

    def _chooses(self, path: str) -> bool:
        folders = path.split("/")[:-1]
        inside = all(self._chosen.enters("/".join(folders[: i + 1])) for i in range(len(folders)))
        return inside and self._chosen.takes(path)

    def _entry(self, path: str, blob: bytes) -> Entry:
        ref = self._config.ref or "HEAD"
        return Entry(
            key=f"files/{printable(path)}",
            uri=f"{self._address}/blob/{quote(ref)}/{quote_from_bytes(os.fsencode(path))}",
            name=printable(path.rpartition("/")[2]),
            token=blob.decode(),
            size=None,
            modified_at=None,
            metadata={"kind": "file", "path": printable(path)},
        )

    def _failed(self, error: Exception) -> SourceError:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self._config.token:
            said = said.replace(self._config.token, "***")
        return SourceError(
            f"source {self._config.name!r}: {self._address} cannot be fetched ({said}); nothing of"
            " the source was changed. Check the repository, the ref and the token"
        )


def _tree_of(repository: "Repo", commit: bytes) -> bytes:
    """The tree of a commit, or of the commit that a tag is about."""
    from dulwich.objects import Tag

    found = repository[commit]
    while isinstance(found, Tag):
        found = repository[found.object[1]]
    return bytes(found.tree)


def _said(author: Any, text: Any, where: str = "") -> str:
    return f"## {author or 'somebody'}{where}\n\n{text}" if text else ""
