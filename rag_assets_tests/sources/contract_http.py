"""What every source behind a web server promises besides, whatever the server does.

A world for these tests has a `site`, and answers by what its documents are at that moment.
"""

from typing import ClassVar

import pytest

from rag_assets.errors import RagError, SourceError
from rag_assets.sources.collect import list_source
from rag_assets.sources.http import HttpClient
from rag_assets.sources.marks import look
from rag_assets_tests.sources.contract import as_snapshot, doctor_says, listing, name_in, opened
from rag_assets_tests.sources.site import Answer, as_json

OUTAGE = {
    "server error": Answer(status=500),
    "refused": Answer(status=403),
    "cut off": Answer(b'{"results": [', cut=20),
}
# For APIs, whose answers have a form; of a site any page is a page.
NO_ANSWER = {
    "a page to sign in at": Answer(b"<html><body>Sign in</body></html>"),
    "an empty object": as_json({}),
}


@pytest.fixture
def slept(monkeypatch):
    """The seconds that clients were told to wait; they do not."""
    waits: list[float] = []
    monkeypatch.setattr(HttpClient.__init__, "__defaults__", (waits.append, ()))
    return waits


class HttpContract:
    """Half a listing is an error, waiting is obeyed, and what moves meanwhile is not lost."""

    troubles: ClassVar = {**OUTAGE, **NO_ANSWER}

    def test_whichever_request_fails_the_listing_is_whole_or_an_error(self, world, slept):
        before = self.filled(world)
        with world.site.troubled(lambda number: None) as seen:
            assert self.tokens(world) == before
        failed = 0
        for name, answer in self.troubles.items():
            for first in range(len(seen)):
                with world.site.troubled(
                    lambda number, first=first, answer=answer: answer if number >= first else None
                ):
                    found = self.whole_or_why_not(world)
                assert found == before or "nothing of" in str(found), (name, first, found)
                failed += found != before
        assert failed >= len(self.troubles)
        assert self.tokens(world) == before

    def test_servers_that_ask_to_wait_are_waited_for(self, world, slept):
        before = self.filled(world)
        refusals = {
            0: Answer(status=429, headers={"Retry-After": "7"}),
            1: Answer(status=503),
            3: Answer(b"{", cut=9),
        }
        with world.site.troubled(refusals.get):
            assert self.tokens(world) == before
        assert [wait for wait in slept if wait >= 7] == [7.0]

    def test_credentials_that_ran_out_are_told_and_change_nothing(self, world, slept, tmp_path):
        before = self.filled(world)
        with world.site.troubled(lambda number: Answer(status=401)):
            with pytest.raises(SourceError, match="check the credentials"):
                list(opened(world).scan())
            with pytest.raises(RagError, match=r"check the credentials.*nothing of the source"):
                doctor_says(world, tmp_path)
        assert self.tokens(world) == before

    def test_what_is_deleted_or_added_meanwhile_takes_nothing_else_along(self, world, slept):
        for change in (world.delete, lambda name: world.put(name, f"new text of {name}")):
            self.filled(world)
            config = world.config()
            snapshot = as_snapshot(list_source(config, opened(world)))
            with world.site.troubled(lambda number: None) as seen:
                list(opened(world).scan())
            for place in range(1, len(seen)):
                self.filled(world)
                meanwhile = {place: lambda change=change: change("alpha")}
                with world.site.troubled(lambda number, plan=meanwhile: _run(plan.get(number))):
                    found = look(config, opened(world), snapshot, None).listing
                assert found["problem"].null_count() == found.height
                names = {name_in(doc_id) for doc_id in found["doc_id"]}
                assert names >= {"beta", "gamma", "delta"}, place

    @staticmethod
    def filled(world) -> dict[str, str]:
        for name in ("alpha", "beta", "gamma", "delta"):
            world.put(name, f"text of {name}")
        return HttpContract.tokens(world)

    @staticmethod
    def whole_or_why_not(world) -> dict[str, str] | str:
        try:
            return HttpContract.tokens(world)
        except SourceError as error:
            return str(error)

    @staticmethod
    def tokens(world) -> dict[str, str]:
        return {entry.key: entry.token for entry in listing(world).values()}


def _run(act) -> None:
    if act is not None:
        act()
