"""Bearer tokens of an identity provider (JWT, OIDC): verified, then read as a principal."""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag_assets.config import JwtConfig
from rag_assets.service.errors import Refused
from rag_assets.service.principals import Principal

if TYPE_CHECKING:
    from jwt import PyJWKClient, PyJWKClientConnectionError

_LEEWAY = 30  # seconds that two clocks may differ
_UNREACHABLE = 5.0  # seconds a provider that gave no keys is left alone: callers would queue for it
_REQUIRED = ["exp", "iss", "aud", "sub"]


class TokenVerifier:
    """Checks tokens against one provider's keys, algorithms, issuer and audience."""

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._fetched: PyJWKClient | None = None
        self._fetching = threading.Lock()
        self._failed: tuple[float, PyJWKClientConnectionError] | None = None

    @property
    def may_fetch(self) -> bool:
        """Whether `principal` may have to wait for the provider."""
        return self._config.jwks_url is not None

    def principal(self, token: str) -> Principal:
        """Who the token names.

        Raises: Refused (401) for a token that does not hold, (503) when its provider's keys cannot
        be fetched.
        """
        import jwt

        config = self._config
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=config.algorithms,
                issuer=config.issuer,
                audience=config.audience,
                leeway=_LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise Refused(401, "the token has expired; sign in again", "token_expired") from None
        except jwt.PyJWKClientConnectionError as error:
            raise Refused(
                503,
                f"the keys of {config.issuer} cannot be fetched ({error})",
                "issuer_unreachable",
            ) from None
        except (jwt.PyJWTError, ValueError) as error:
            raise Refused(401, f"the token is not valid: {error}", "invalid_token") from None
        return self._read(claims)

    def _key(self, token: str) -> Any:
        """The key that should have signed the token, as PyJWT takes it."""
        config = self._config
        if config.key is not None:
            return config.key
        from jwt import PyJWKClient, PyJWKClientConnectionError

        with self._fetching:
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise self._failed[1]
            if self._fetched is None:
                self._fetched = PyJWKClient(str(config.jwks_url), lifespan=600, timeout=5)
            try:
                return self._fetched.get_signing_key_from_jwt(token).key
            except PyJWKClientConnectionError as error:
                self._failed = (time.monotonic() + _UNREACHABLE, error)
                raise

    def _read(self, claims: Mapping[str, Any]) -> Principal:
        config = self._config
        subject = str(claims["sub"])
        tenant = claims.get(config.tenant_claim) if config.tenant_claim else None
        if config.tenant_claim and not (isinstance(tenant, str) and tenant):
            raise Refused(401, f"the token has no claim {config.tenant_claim!r}", "invalid_token")
        return Principal(
            id=f"jwt:{subject}",
            name=str(claims.get("name") or claims.get("email") or subject),
            groups=tuple(sorted(set(_texts(claims.get(config.groups_claim))))),
            tenant=tenant,
            may_write=config.write_scope in _texts(claims.get("scope")),
        )


def _texts(claim: object) -> list[str]:
    """A claim that is a list of texts, or one text with spaces between them."""
    if isinstance(claim, str):
        return claim.split()
    return [item for item in claim if isinstance(item, str)] if isinstance(claim, list) else []
