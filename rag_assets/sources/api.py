"""Questions to one JSON API: answers checked, pages followed, credentials kept to its own host."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from rag_assets.errors import SourceError
from rag_assets.sources.fields import value_at
from rag_assets.sources.http import HttpClient, Reply


class JsonApi:
    """The API at `url`, asked on behalf of the source `name`.

    headers: sent with every question, credentials among them; not to where it redirects to.
    """

    def __init__(
        self, name: str, url: str, client: HttpClient, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._name = name
        self._client = client
        self._headers = dict(headers or {})

    def get(self, path: str, **params: str | int | None) -> Any:
        """The JSON at a path or a full address on the same host. Raises: SourceError."""
        return self._json(self._reply(self._address(path, params)))

    def page(self, path: str, **params: str | int | None) -> tuple[Any, Mapping[str, str]]:
        """The same with the answer's headers, for APIs that page by them."""
        reply = self._reply(self._address(path, params))
        return self._json(reply), reply.headers

    def post(self, path: str, asked: Mapping[str, Any]) -> Any:
        """The JSON that answers a question that changes nothing. Raises: SourceError."""
        body = json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"}
        return self._json(self._reply(self._address(path, {}), headers, body))

    def download(self, path: str) -> bytes:
        """The bytes at a path, such as an attachment. Raises: SourceError."""
        reply = self._reply(self._address(path, {}), {"Accept": "*/*"})
        if reply.status != 200:
            raise self.failed(reply.url, f"status {reply.status}")
        return reply.body

    def list_at(self, answer: Any, path: str) -> list[Any]:
        """The list at a dotted path of an answer. Raises: SourceError when there is none."""
        found = value_at(answer, path)
        if not isinstance(found, list):
            raise self.failed(self.url, f"no list at {path!r} in the answer")
        return found

    def onward(self, following: Any, visited: set[str]) -> str:
        """The address or cursor of the next page, which joins those `visited`.

        Raises: SourceError when it was visited already: such a list never comes to its end.
        """
        if str(following) in visited:
            raise self.failed(self.url, "a list leads back to a page that was read already")
        visited.add(str(following))
        return str(following)

    def failed(self, url: str, why: str) -> SourceError:
        """The error that says what went wrong and that nothing was changed."""
        shown = self._client.shown(url)
        return SourceError(
            f"source {self._name!r}: {shown}: {why}; nothing of the source was changed"
        )

    def _address(self, path: str, params: Mapping[str, str | int | None]) -> str:
        address = path if "://" in path else self.url + "/" + path.lstrip("/")
        address = urljoin(self.url, address)
        if urlsplit(address).netloc != urlsplit(self.url).netloc:
            raise self.failed(address, f"is on another host than {self.url}")
        query = urlencode({name: value for name, value in params.items() if value is not None})
        return f"{address}{'&' if '?' in address else '?'}{query}" if query else address

    def _reply(
        self, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        sent = {"Accept": "application/json", **self._headers, **(headers or {})}
        try:
            return self._client.ask(url, sent, body)
        except SourceError as error:
            raise SourceError(
                f"source {self._name!r}: {error}; nothing of the source was changed"
            ) from error

    def _json(self, reply: Reply) -> Any:
        if reply.status != 200:
            raise self.failed(reply.url, f"status {reply.status}")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise self.failed(reply.url, f"the answer is not JSON ({error})") from error


def basic(user: str, password: str) -> str:
    """The value of an Authorization header with a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
