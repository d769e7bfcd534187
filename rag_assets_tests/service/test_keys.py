import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rag_assets.errors import BadRequest, StorageError
from rag_assets.service.keys import KeyStore
from rag_assets.service.principals import Allowance


def test_a_key_is_found_by_its_secret_and_kept_as_a_hash_only(tmp_path: Path) -> None:
    store = KeyStore.at(tmp_path)
    key, secret = store.create(
        "intranet", groups=["hr", "hr", "it"], tenant="acme", allowance=Allowance(10, None, 2.5)
    )
    assert secret.startswith(f"rag_{key.id}_")
    assert len(secret) > 50
    assert store.find(secret) == key
    assert store.find(secret + "x") is None
    assert secret not in store.path.read_text()
    assert store.path.stat().st_mode & 0o077 == 0
    principal = key.principal
    assert (principal.id, principal.groups, principal.tenant) == (
        f"key:{key.id}",
        ("hr", "it"),
        "acme",
    )
    assert (principal.may_write, principal.allowance) == (False, Allowance(10, None, 2.5))


def test_every_group_is_none_and_no_group_is_none_of_them(tmp_path: Path) -> None:
    store = KeyStore.at(tmp_path)
    assert store.create("trusted", groups=["*"])[0].principal.groups is None
    assert store.create("public")[0].principal.groups == ()


def test_another_process_s_change_is_seen(tmp_path: Path) -> None:
    here, there = KeyStore.at(tmp_path), KeyStore.at(tmp_path)
    assert here.all_keys() == []
    key, secret = there.create("a")
    assert here.find(secret) == key
    there.revoke("a")
    assert here.find(secret).state(datetime.now(UTC)) == "revoked"


def test_names_are_unique_among_keys_in_use(tmp_path: Path) -> None:
    store = KeyStore.at(tmp_path)
    first, _ = store.create("a")
    with pytest.raises(BadRequest, match="an active key is called 'a'; revoke it first"):
        store.create("a")
    assert store.revoke(first.id).id == first.id
    second, _ = store.create("a")
    assert [key.id for key in store.all_keys()] == [first.id, second.id]
    with pytest.raises(BadRequest, match="no key of this id or name"):
        store.revoke(first.id)
    with pytest.raises(BadRequest, match="key name"):
        store.create("a/b")


def test_a_key_expires(tmp_path: Path) -> None:
    key, _ = KeyStore.at(tmp_path).create("a", days=2)
    now = datetime.now(UTC)
    assert key.state(now) == "active"
    assert key.state(now + timedelta(days=2, seconds=1)) == "expired"


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    store = KeyStore.at(tmp_path)
    _, secret = store.create("a")
    store.path.write_text(json.dumps({"keys": [{"id": 1}]}))
    with pytest.raises(StorageError, match=r"keys\.json: damaged"):
        store.find(secret)
