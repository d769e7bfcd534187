import json
from contextlib import contextmanager

import pytest

from rag_assets.config import HttpSettings, TicketsConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets_tests.sources import site
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch
from rag_assets_tests.sources.contract_http import HttpContract, slept
from rag_assets_tests.sources.site import Answer, as_json

__all__ = ["slept"]
EXPORT = "/api/v2/incremental/tickets/cursor.json"


class Desk:
    """A log of changes, two to a page; the last page has a cursor and says that it is the last."""

    def __init__(self, served, root):
        self.site = served
        self.root = root
        self.log = []
        self.asked = []
        self.fail_from = None
        served.apis[EXPORT] = self.export

    def config(self, **settings):
        return TicketsConfig(
            name="t",
            type="tickets",
            url=self.site.url(""),
            user="me",
            token="secret",
            path=str(self.root),
            http=HttpSettings(allow_private=True),
            **settings,
        )

    def source(self, **settings):
        return open_source(self.config(**settings))

    def export(self, query, sent):
        self.asked.append(query.get("start_time", "cursor"))
        start = int(query["cursor"]) if "cursor" in query else 0
        if self.fail_from is not None and start >= self.fail_from:
            return Answer(status=401)
        found = self.log[start : start + 2]
        after = start + len(found)
        ended = after == len(self.log)
        return as_json({"tickets": found, "after_cursor": str(after), "end_of_stream": ended})

    def put(self, name, text, status="open"):
        moment = len(self.log)
        self.log.append(
            {
                "id": name,
                "subject": f"About {name}",
                "status": status,
                "updated_at": f"2026-05-01T10:00:{moment:02d}Z",
                "generated_timestamp": 1_700_000_000 + moment,
                "tags": ["a"],
                "via": {"channel": "email"},
            }
        )
        path = f"/api/v2/tickets/{name}/comments.json"
        answers = [
            {
                "comments": [{"public": True, "plain_body": text}],
                "next_page": self.site.url(path + "?page=2"),
            },
            {"comments": [{"public": False, "plain_body": "for agents"}], "next_page": None},
        ]
        self.site.apis[path] = lambda query, sent: as_json(answers[int(query.get("page", 1)) - 1])

    def delete(self, name):
        self.put(name, "", status="deleted")
        del self.site.apis[f"/api/v2/tickets/{name}/comments.json"]

    @contextmanager
    def broken(self):
        self.fail_from = 2
        yield
        self.fail_from = None


@pytest.fixture
def desk(tmp_path):
    with site.serving() as served:
        yield Desk(served, tmp_path)


class TestTickets(DeletingSourceContract, HttpContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, desk):
        return desk


def test_a_ticket_with_its_public_comments(desk):
    desk.put("1", "It is broken.")
    [entry] = desk.source().scan()
    assert entry.title == "About 1"
    assert entry.metadata == {"status": "open", "tags": "a", "channel": "email"}
    assert desk.source().fetch(entry) == b"# About 1\n\n## Comment 1\n\nIt is broken."
    assert b"for agents" in desk.source(private_comments=True).fetch(entry)


def test_only_what_changed_is_asked_for_and_nothing_twice(desk):
    for number in range(5):
        desk.put(str(number), "text")
    cursor = desk.source().changes(None).cursor
    before = len(desk.site.requests)
    assert desk.source().changes(cursor).entries == []
    assert len(desk.site.requests) == before + 1
    desk.put("3", "other text")
    desk.delete("4")
    found = desk.source().changes(cursor)
    assert ([entry.key for entry in found.entries], found.deleted) == (["3"], ["4"])


def test_pages_before_a_failure_are_kept_and_the_next_scan_goes_on_there(desk):
    for number in range(5):
        desk.put(str(number), "text")
    with desk.broken(), pytest.raises(SourceError, match="check the credentials"):
        list(desk.source().scan())
    desk.site.requests.clear()
    assert len(list(desk.source().scan())) == 5
    assert [path.partition("cursor=")[2] for path in desk.site.requests] == ["2", "4"]


def test_credentials_are_those_of_an_agent_or_a_token(desk):
    seen = []
    desk.site.apis[EXPORT] = lambda query, sent: (
        seen.append(sent["authorization"]),
        Answer(json.dumps({"tickets": [], "end_of_stream": True}).encode()),
    )[1]
    assert list(desk.source().scan()) == []
    assert seen == ["Basic bWUvdG9rZW46c2VjcmV0"]


def test_an_earlier_date_asks_for_the_older_ones_once(desk):
    desk.put("1", "text")
    list(desk.source(since="2026-01-01").scan())
    list(desk.source(since="2026-01-01").scan())
    list(desk.source(since="2026-02-01").scan())
    assert desk.asked == ["1767225600", "cursor", "cursor"]
    desk.asked.clear()
    list(desk.source(since="2025-01-01").scan())
    list(desk.source(since="2025-01-01").scan())
    assert desk.asked == ["1735689600", "cursor"]
