"""From a request's headers to its principal; closed unless someone was let in.

A service for which no key was ever made and no `service.jwt` is configured answers its own machine
only: the caller's address and the Host it asked for must both be loopback, so that neither another
machine nor a web page that rebinds its name to 127.0.0.1 gets an answer.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime

from rag_assets.config import ServiceConfig
from rag_assets.errors import ConfigError
from rag_assets.service.errors import Refused
from rag_assets.service.keys import KEY_PREFIX, KeyStore
from rag_assets.service.principals import LOCAL, Principal
from rag_assets.service.tokens import TokenVerifier

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Access:
    """Who may come in: the holders of API keys, those whom an identity provider vouches for."""

    def __init__(self, config: ServiceConfig, keys: KeyStore) -> None:
        self._keys = keys
        self._tokens = None if config.jwt is None else TokenVerifier(config.jwt)

    @property
    def is_open(self) -> bool:
        """Whether no principal was ever configured. A revoked key keeps the service closed."""
        return self._tokens is None and not self._keys.all_keys()

    async def principal(self, headers: Mapping[str, str], client: str | None) -> Principal:
        """Who is asking. headers: with lower-case names. client: the caller's address.

        Raises: Refused (401, 403, 503), StorageError when the keys cannot be read.
        """
        if self.is_open:
            return _local(headers.get("host", ""), client)
        secret = _bearer(headers)
        if secret.startswith(KEY_PREFIX) or self._tokens is None:
            return self._of_key(secret)
        if self._tokens.may_fetch:
            return await asyncio.to_thread(self._tokens.principal, secret)
        return self._tokens.principal(secret)

    def check_binding(self, host: str) -> None:
        """Raise ConfigError when nobody could be told from anybody on the address to listen at."""
        if self.is_open and not is_loopback(host):
            raise ConfigError(
                f"--host {host}: there is no principal that could be let in, so the service listens"
                " on loopback only; make an API key with `rag-assets keys create NAME`, or"
                " configure service.jwt"
            )

    def _of_key(self, secret: str) -> Principal:
        key = self._keys.find(secret)
        if key is None:
            raise Refused(401, "the API key is not known", "invalid_api_key", headers=_CHALLENGE)
        state = key.state(datetime.now(UTC))
        if state != "active":
            raise Refused(
                401, f"the API key {key.name!r} is {state}", f"{state}_api_key", headers=_CHALLENGE
            )
        return key.principal


def _bearer(headers: Mapping[str, str]) -> str:
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret.strip():
        return secret.strip()
    if headers.get("x-api-key"):
        return headers["x-api-key"]
    raise Refused(
        401,
        "no API key: send the header `Authorization: Bearer KEY`; keys are made with"
        " `rag-assets keys create NAME`",
        "missing_api_key",
        headers=_CHALLENGE,
    )


def _local(host: str, client: str | None) -> Principal:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if not is_loopback(client or "") or not is_loopback(name.strip("[]")):
        raise Refused(
            403,
            "this service has no API keys and answers its own machine only; make one with"
            " `rag-assets keys create NAME`",
            "local_only",
        )
    return LOCAL


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
