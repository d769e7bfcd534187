"""Reading from web servers that may be slow, wrong or hostile.

An address is resolved once, checked, and connected to as it was checked: a name that points into a
private network, at once or at the second look, is refused, and so is a redirect to one.
"""

import contextlib
import gzip
import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urljoin, urlsplit

from rag_assets.config import HttpSettings
from rag_assets.errors import SourceError

MOST_BYTES = 64 << 20
_MOST_REDIRECTS = 5
_ATTEMPTS = 4
_SLOWEST = 10  # times the timeout that a whole answer may take
_LONGEST_WAIT = 60.0  # seconds that a server may make us wait before it counts as down
_AGENT = "rag-assets"
# What a redirect to another host still gets; anything else may be a credential.
_HARMLESS = {"user-agent", "accept", "accept-language", "content-type"}
_HARMLESS |= {"if-none-match", "if-modified-since"}
_SECRET_PARTS = re.compile(
    r"(://)[^/@\s?#]+(?=@)"
    r"|([?&](?:[\w.%-]*(?:token|key|secret|passw(?:or)?d|pwd|signature|credential)|sig|auth|pass)=)"
    r"[^&\s#]+",
    re.IGNORECASE,
)
_NETWORK = ipaddress.ip_network("2000::/3")  # all that is assigned of IPv6 to the public network
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # leads to the IPv4 address in its last four bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: status, headers by lower-case name, body, and the final address."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Unreachable(SourceError):
    """A server did not give an answer that can be used."""


class HttpClient:
    """Requests with retries, limits and manners. Not for use by several threads at once.

    secrets: what must not show in errors, where an API wants it in the address.
    """

    def __init__(
        self,
        settings: HttpSettings,
        sleep: Callable[[float], None] = time.sleep,
        secrets: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._secrets = [secret for secret in secrets if secret]
        self._interval = settings.interval
        self._asked: dict[str, float] = {}
        self._trusted: set[tuple[str, ...]] | None = None

    def trust_only(self, urls: Iterable[str]) -> None:
        """Let the configured headers, which may hold credentials, go to the hosts of these
        addresses alone."""
        self._trusted = {urlsplit(url)[:2] for url in urls}

    def keep_apart(self, seconds: float) -> None:
        """From now on leave at least so long between two requests to one host."""
        self._interval = max(self._interval, seconds)

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer to a GET; see `ask`."""
        return self.ask(url, headers)

    def ask(
        self, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """The answer to a GET, or with a body to a POST that only asks (it may be sent twice).

        Redirects are followed; 2xx, 304, 404 and 410 are answers. Too many requests, server errors
        and broken connections are tried again, after as long as the server asks.
        Raises: Unreachable for every other answer, and when tries run out.
        """
        problem = ""
        for attempt in range(_ATTEMPTS):
            wait = 0.5 * 2**attempt
            try:
                reply = self._followed(url, dict(headers or {}), body)
            except (ValueError, http.client.InvalidURL) as error:
                why = f"leads to what is no address ({error})"
                raise Unreachable(self.shown(f"{url}: {why}")) from error
            except (OSError, http.client.HTTPException, zlib.error) as error:
                problem = self.shown(f"{type(error).__name__}: {error}")
            else:
                if reply.status < 400 or reply.status in {404, 410}:
                    return reply
                problem = f"status {reply.status}"
                if reply.status != 429 and reply.status < 500:
                    break
                wait = max(wait, _retry_after(reply.headers))
            if wait > _LONGEST_WAIT or attempt + 1 == _ATTEMPTS:
                break
            self._sleep(wait)
        raise Unreachable(f"{self.shown(url)}: no usable answer ({problem}{_advice(problem)})")

    def shown(self, text: str) -> str:
        """A text, such as an address, as errors may show it: without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return shown(text)

    def _followed(self, url: str, headers: dict[str, str], body: bytes | None) -> Reply:
        origin = urlsplit(url)[:2]
        for _ in range(_MOST_REDIRECTS):
            sent = {"User-Agent": _AGENT, **self._settings.headers, **headers}
            host = urlsplit(url)[:2]
            if host != origin or (self._trusted is not None and host not in self._trusted):
                sent = {name: value for name, value in sent.items() if name.lower() in _HARMLESS}
            reply = self._once(url, sent, body)
            target = reply.headers.get("location")
            if reply.status not in {301, 302, 303, 307, 308} or not target:
                return reply
            url = urljoin(url, target)
        raise Unreachable(f"{self.shown(url)}: more than {_MOST_REDIRECTS} redirects")

    def _once(self, url: str, headers: dict[str, str], body: bytes | None) -> Reply:
        parts = urlsplit(quoted(url))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Unreachable(f"{self.shown(url)}: expected an http:// or https:// address")
        self._keep_distance(parts.netloc)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(parts.hostname, port)
        with contextlib.closing(connection):
            connection.sock = self._connected(parts.scheme, parts.hostname, port)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            sent = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "gzip", **headers}
            connection.request("GET" if body is None else "POST", path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            said = self._body(url, answer, found.get("content-encoding", ""))
            return Reply(answer.status, found, said, url)

    def _connected(self, scheme: str, host: str, port: int) -> socket.socket:
        """A connection to an address of the host that may be asked."""
        addresses = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        for address in addresses:
            if not self._settings.allow_private and not _is_public(str(address)):
                raise Unreachable(
                    f"{host} is at the private address {address}; set http.allow_private to read"
                    " from it"
                )
        plain = self._first_open([str(address) for address in addresses], port)
        if scheme == "http":
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)

    def _first_open(self, addresses: list[str], port: int) -> socket.socket:
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, port), self._settings.timeout)
        return socket.create_connection((addresses[-1], port), self._settings.timeout)

    def _body(self, url: str, answer: http.client.HTTPResponse, encoding: str) -> bytes:
        """The whole body, unpacked.

        Raises: Unreachable above the limit, OSError when it is cut off or comes too slowly.
        """
        deadline = time.monotonic() + _SLOWEST * self._settings.timeout
        body = bytearray()
        while part := answer.read(1 << 16):
            body += part
            if len(body) > MOST_BYTES:
                raise Unreachable(f"{self.shown(url)}: more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise OSError("the answer comes too slowly")
        if answer.length:
            raise http.client.IncompleteRead(bytes(body), answer.length)
        if encoding.lower() not in {"", "identity", "gzip", "x-gzip"}:
            raise Unreachable(f"{self.shown(url)}: is packed as {encoding!r}, which was not asked")
        packed = body and encoding.lower() in {"gzip", "x-gzip"}
        return unpacked(self.shown(url), bytes(body)) if packed else bytes(body)

    def _keep_distance(self, host: str) -> None:
        """Wait until the interval since the last request to a host is over."""
        now = time.monotonic()
        wait = self._asked.get(host, -self._interval) + self._interval - now
        if wait > 0:
            self._sleep(wait)
        self._asked[host] = now + max(wait, 0.0)


def _advice(problem: str) -> str:
    """What to do about a refusal."""
    if problem in {"status 401", "status 403"}:
        return ": check the credentials and their rights"
    return ""


def quoted(url: str) -> str:
    """An address as servers are asked for it: the name of the host in ASCII, and in the rest what
    is not allowed in an address percent-encoded. Raises: ValueError when it is none."""
    if url.isascii() and url.isprintable() and " " not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = quote(parts.path, safe=_ALLOWED), quote(parts.query, safe=_ALLOWED)
    return parts._replace(netloc=host, path=path, query=query).geturl()


_ALLOWED = "/%:@!$&'()*+,;=~?[]"


def shown(text: str) -> str:
    """A text with the credentials in its addresses blotted out: user and password, keys, tokens,
    signatures."""
    return _SECRET_PARTS.sub(lambda found: f"{found[1] or found[2]}***", text)


def _is_public(address: str) -> bool:
    """Whether an address is one of the public network. Several kinds of IPv6 addresses lead to an
    IPv4 address that is written in them: that one counts."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if found not in _NETWORK:
            return False
    return found.is_global and not found.is_multicast


def unpacked(url: str, body: bytes) -> bytes:
    """What gzip packed. Raises: Unreachable above the limit, OSError when it is damaged."""
    try:
        body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MOST_BYTES + 1)
    except (EOFError, zlib.error) as error:
        raise OSError(f"the packed body is cut off or damaged: {error}") from error
    if len(body) > MOST_BYTES:
        raise Unreachable(f"{url}: more than {MOST_BYTES >> 20} MiB")
    return body


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait."""
    value = headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    try:
        now = parsedate_to_datetime(headers.get("date", ""))  # by its own clock, which may be off
    except (ValueError, TypeError):
        now = datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())
