import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from rag_assets.config import JwtConfig, ServiceConfig
from rag_assets.errors import ConfigError
from rag_assets.service.access import Access
from rag_assets.service.errors import Refused
from rag_assets.service.keys import KeyStore
from rag_assets.service.principals import LOCAL, Principal

HERE = "127.0.0.1"


def ask(access: Access, token: str | None = None, client: str = HERE, **headers: str) -> Principal:
    given_headers = {"host": "localhost:8080", **headers}
    if token is not None:
        given_headers["authorization"] = f"Bearer {token}"
    return asyncio.run(access.principal(given_headers, client))


def refused(access: Access, *args: str, **kwargs: str) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        ask(access, *args, **kwargs)
    return caught.value.refusal.status, caught.value.refusal.code


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.at(tmp_path)


# -- open to this machine only ---------------------------------------------------------------------


def test_without_principals_only_this_machine_is_answered(keys: KeyStore) -> None:
    access = Access(ServiceConfig(), keys)
    assert ask(access) is LOCAL
    assert ask(access, host="[::1]:8080", client="::1") is LOCAL
    assert ask(access, token="anything") is LOCAL
    assert refused(access, client="10.0.0.7") == (403, "local_only")
    # A page whose name was rebound to 127.0.0.1 asks for its own host.
    assert refused(access, host="evil.example:8080") == (403, "local_only")
    assert refused(access, host="") == (403, "local_only")


def test_a_key_closes_the_service_and_revoking_it_does_not_open_it(keys: KeyStore) -> None:
    access = Access(ServiceConfig(), keys)
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: there is no principal"):
        access.check_binding("0.0.0.0")
    access.check_binding("127.0.0.1")
    access.check_binding("localhost")
    _, secret = keys.create("a", groups=["hr"])
    access.check_binding("0.0.0.0")
    assert ask(access, secret, client="10.0.0.7").name == "a"
    assert ask(access, **{"x-api-key": secret}).groups == ("hr",)
    assert refused(access) == (401, "missing_api_key")
    assert refused(access, "rag_wrong") == (401, "invalid_api_key")
    assert refused(access, authorization="Basic abc") == (401, "missing_api_key")
    keys.revoke("a")
    assert refused(access, secret) == (401, "revoked_api_key")
    assert refused(access) == (401, "missing_api_key")


# -- tokens of an identity provider ----------------------------------------------------------------

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
JWT = JwtConfig(issuer="https://id.example", audience="rag", key=PUBLIC)


def token(key: object = PRIVATE, algorithm: str = "RS256", **changes: object) -> str:
    claims = {
        "iss": "https://id.example",
        "aud": "rag",
        "sub": "u1",
        "exp": datetime.now(UTC) + timedelta(minutes=5),
        "groups": ["hr"],
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": "k1"})


def test_a_token_names_subject_groups_tenant_and_scope(keys: KeyStore) -> None:
    config = JWT.model_copy(update={"tenant_claim": "org"})
    access = Access(ServiceConfig(jwt=config), keys)
    claims = {"org": "acme", "name": "Ada", "groups": ["it", "hr", "hr"]}
    principal = ask(access, token(**claims, scope="openid documents:write"), client="10.0.0.7")
    assert principal == Principal("jwt:u1", "Ada", ("hr", "it"), "acme", may_write=True)
    assert ask(access, token(org="acme", groups=None)).groups == ()
    assert not ask(access, token(org="acme")).may_write
    assert refused(access, token()) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": datetime.now(UTC) - timedelta(minutes=5)}, "token_expired"),
        ({"exp": None}, "invalid_token"),
        ({"iss": "https://evil.example"}, "invalid_token"),
        ({"aud": "other"}, "invalid_token"),
        ({"sub": None}, "invalid_token"),
        ({"nbf": datetime.now(UTC) + timedelta(days=1)}, "invalid_token"),
    ],
)
def test_a_token_that_does_not_hold_is_refused(keys: KeyStore, changes: dict, code: str) -> None:
    assert refused(Access(ServiceConfig(jwt=JWT), keys), token(**changes)) == (401, code)


def test_algorithms_are_fixed(keys: KeyStore) -> None:
    access = Access(ServiceConfig(jwt=JWT), keys)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refused(access, token(key=other)) == (401, "invalid_token")
    assert refused(access, token(key="", algorithm="none")) == (401, "invalid_token")
    # The public key used as a shared secret: the classic confusion of algorithms.
    _, body, _ = token().split(".")
    forged_head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}').decode()
    signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = signer.sign(f"{forged_head}.{body}".encode(), PUBLIC.encode())
    forged = f"{forged_head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"
    assert refused(access, forged) == (401, "invalid_token")
    assert refused(access, "not.a.token") == (401, "invalid_token")
    with pytest.raises(ValueError, match="cannot be mixed"):
        JwtConfig(issuer="i", audience="a", key="k", algorithms=["HS256", "RS256"])


@pytest.fixture
def jwks() -> Iterator[str]:
    """An identity provider that publishes its key over HTTP."""
    [key] = [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(PRIVATE.public_key()))]
    body = json.dumps({"keys": [{**key, "kid": "k1", "use": "sig", "alg": "RS256"}]}).encode()

    class Provider(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((HERE, 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HERE}:{server.server_port}/jwks.json"
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_are_fetched_from_the_provider(keys: KeyStore, jwks: str) -> None:
    config = JwtConfig(issuer="https://id.example", audience="rag", jwks_url=jwks)
    access = Access(ServiceConfig(jwt=config), keys)
    assert ask(access, token()).id == "jwt:u1"
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refused(access, token(key=other)) == (401, "invalid_token")


def test_an_unreachable_provider_is_told_and_api_keys_still_work(keys: KeyStore) -> None:
    config = JwtConfig(issuer="i", audience="rag", jwks_url=f"http://{HERE}:9/jwks.json")
    access = Access(ServiceConfig(jwt=config), keys)
    assert refused(access, token()) == (503, "issuer_unreachable")
    _, secret = keys.create("a")
    assert ask(access, secret).name == "a"


def test_callers_do_not_queue_for_a_provider_that_fails(keys: KeyStore) -> None:
    asked = []

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer((HERE, 0), Failing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        url = f"http://{HERE}:{server.server_port}/jwks.json"
        config = JwtConfig(issuer="i", audience="rag", jwks_url=url)
        access = Access(ServiceConfig(jwt=config), keys)
        for _ in range(3):
            assert refused(access, token()) == (503, "issuer_unreachable")
        server.shutdown()
    assert asked == ["/jwks.json"]


# -- what a principal may see ----------------------------------------------------------------------

GROUPS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4)


@given(GROUPS, st.none() | GROUPS)
def test_asking_for_groups_only_narrows(own: list[str], asked: list[str] | None) -> None:
    used = Principal("p", "p", tuple(own)).readable_groups(asked)
    assert set(used) <= set(own)
    assert set(used) == (set(own) if asked is None else set(own) & set(asked))


def test_a_trusted_principal_may_name_any_group() -> None:
    assert LOCAL.readable_groups(None) is None
    assert LOCAL.readable_groups(["hr", "a"]) == ["a", "hr"]


def test_a_tenant_is_always_part_of_the_filter() -> None:
    acme = Principal("p", "p", (), tenant="acme")
    own = {"tenant": {"$in": ["acme", "*"]}}
    assert acme.narrowed(None) == own
    assert acme.narrowed({"tenant": "other"}) == {"$and": [own, {"tenant": "other"}]}
    assert LOCAL.narrowed({"a": 1}) == {"a": 1}
    assert acme.owns({"tenant": "acme"})
    assert not acme.owns({"tenant": "*"})
    assert not acme.owns({})
    assert LOCAL.owns({"tenant": "acme"})
