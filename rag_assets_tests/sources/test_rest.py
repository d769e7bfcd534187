import json

import pytest

from rag_assets.config import HttpSettings, Pagination, RestConfig
from rag_assets.errors import SourceError
from rag_assets.sources.http import HttpClient
from rag_assets.sources.rest import RestSource
from rag_assets_tests.sources.site import Answer, serving

HTTP = HttpSettings(allow_private=True)


@pytest.fixture
def site():
    with serving() as served:
        yield served


@pytest.fixture
def open_api(site):
    def opened(**settings):
        config = RestConfig(name="r", type="rest", url=site.url("/api"), http=HTTP, **settings)
        return RestSource(config, HttpClient(HTTP, sleep=lambda seconds: None))

    return opened


def answer(value, **headers):
    return Answer(json.dumps(value).encode(), headers=headers)


def keys(source):
    return [entry.key for entry in source.scan()]


def records(*numbers):
    return [{"id": number, "text": f"text {number}"} for number in numbers]


def test_a_record_is_put_together_from_its_fields(site, open_api):
    ticket = {
        "id": 7,
        "subject": "Printer",
        "comments": [{"body": "It is broken."}, {"body": "Still."}],
        "user": {"name": "Ines"},
        "updated": "2026-05-01T10:00:00Z",
        "tags": ["hw", "floor 3"],
        "score": 0.5,
    }
    site.pages["/api?team=it"] = answer({"data": {"tickets": [ticket]}})
    source = open_api(
        params={"team": "it"},
        records="data.tickets",
        title="subject",
        text="{subject}\n\n{user.name}: {comments.0.body}",
        uri="https://desk.example/t/{id}",
        updated_at="updated",
        metadata_fields=["score", "user.name", "tags", "none"],
    )
    (entry,) = source.scan()
    assert (entry.key, entry.title, entry.uri) == ("7", "Printer", "https://desk.example/t/7")
    assert entry.token == "2026-05-01T10:00:00Z"
    assert entry.metadata == {"score": 0.5, "user.name": "Ines"}
    assert source.fetch(entry) == b"Printer\n\nInes: It is broken."


def test_pages_by_link_header(site, open_api):
    following = f'<{site.url("/api?p=0")}>; rel="prev", <{site.url("/api?p=2")}>; rel="next"'
    site.pages["/api"] = answer(records(1), Link=following)
    site.pages["/api?p=2"] = answer(records(2))
    assert keys(open_api(pagination=Pagination(kind="link_header"))) == ["1", "2"]


def test_pages_by_address(site, open_api):
    site.pages["/api"] = answer({"items": records(1), "next": "/api?p=2"})
    site.pages["/api?p=2"] = answer({"items": records(2), "next": None})
    paging = Pagination(kind="next_url", path="next")
    assert keys(open_api(records="items", pagination=paging)) == ["1", "2"]


def test_pages_by_cursor_end_where_the_flag_or_the_records_do(site, open_api):
    def page(*numbers, after, more=True):
        return answer({"items": records(*numbers), "meta": {"after": after, "more": more}})

    site.pages["/api"] = page(1, after="x y")
    site.pages["/api?after=x+y"] = page(2, after="z")
    site.pages["/api?after=z"] = page(after="z")
    paging = Pagination(kind="cursor", path="meta.after", param="after")
    assert keys(open_api(records="items", pagination=paging)) == ["1", "2"]
    site.pages["/api?after=x+y"] = page(2, after="z", more=False)
    site.pages["/api?after=z"] = page(3, after="never")
    flagged = Pagination(kind="cursor", path="meta.after", param="after", more="meta.more")
    assert keys(open_api(records="items", pagination=flagged)) == ["1", "2"]


def test_an_api_that_always_gives_a_cursor_comes_to_an_end(site, open_api):
    site.pages["/api"] = answer({"items": records(1), "after": "same"})
    site.pages["/api?after=same"] = answer({"items": records(2), "after": "same"})
    paging = Pagination(kind="cursor", path="after", param="after")
    assert keys(open_api(records="items", pagination=paging)) == ["1", "2"]


def test_pages_by_offset(site, open_api):
    site.pages["/api?limit=2&start=0"] = answer(records(1, 2))
    site.pages["/api?limit=2&start=2"] = answer(records(3))
    site.pages["/api?limit=2&start=3"] = answer([])
    paging = Pagination(kind="offset", param="start", first=0)
    assert keys(open_api(params={"limit": 2}, pagination=paging)) == ["1", "2", "3"]


def test_deleted_records_are_not_listed_and_unusable_ones_say_why(site, open_api):
    rows = [
        *records(1, 1),
        {"id": 1, "text": "other"},
        {"id": 2, "status": "deleted", "text": "x"},
        {"text": "y"},
        {"id": 3},
    ]
    site.pages["/api"] = answer(rows)
    found = {e.key: e.problem for e in open_api(deleted={"status": ["deleted"]}).scan()}
    assert found == {
        "1": None,
        "1#record-3": "duplicate id '1': record 3 has the id of an earlier one",
        "#record-5": "record 5 has no id at 'id'",
        "3": "record 6 has no text at 'text'",
    }


def test_too_many_requests_are_waited_for(site, open_api):
    left = [Answer(status=429, headers={"Retry-After": "3"}), Answer(status=502)]
    site.pages["/api"] = lambda request: left.pop(0) if left else answer(records(1))
    assert keys(open_api()) == ["1"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (Answer(status=401), "status 401"),
        (Answer(status=404), "status 404"),
        (Answer(b"<html>"), "the answer is not JSON"),
        (answer({"error": "x"}), "no list at records: ''"),
    ],
)
def test_an_answer_that_is_not_what_was_described_fails_the_listing(site, open_api, given, why):
    site.pages["/api"] = given
    with pytest.raises(SourceError, match=why):
        keys(open_api())


def test_credentials_do_not_go_to_another_host(site, open_api):
    site.pages["/api"] = answer({"items": records(1), "next": "https://evil.example/api"})
    paging = Pagination(kind="next_url", path="next")
    with pytest.raises(SourceError, match="its next page is on another host"):
        keys(open_api(records="items", pagination=paging))


def test_a_description_that_lacks_something_is_refused():
    with pytest.raises(ValueError, match="kind 'cursor' needs param"):
        Pagination(kind="cursor", path="after")


def test_parameters_that_are_named_twice_stay_and_so_do_empty_ones(site, open_api):
    site.pages["/api?tag=a&tag=b&empty=&page=1"] = answer(records(1))
    site.pages["/api?tag=a&tag=b&empty=&page=2"] = answer([])
    source = open_api(pagination=Pagination(kind="page", param="page"))
    source._config = source._config.model_copy(
        update={"url": site.url("/api?tag=a&tag=b&empty=&page=7")}
    )
    assert keys(source) == ["1"]


def test_a_redirected_page_does_not_take_the_credentials_along_for_the_next_one(site):
    seen = []

    def page(query, sent):
        seen.append((sent["host"].partition(":")[0], sent.get("authorization")))
        return answer({"data": records(len(seen)), "next": "x" if len(seen) < 3 else None})

    site.apis["/elsewhere"] = page
    target = site.url("/elsewhere").replace("127.0.0.1", "localhost")
    site.apis["/api"] = lambda query, sent: Answer(status=302, headers={"Location": target})
    secret = HttpSettings(allow_private=True, headers={"Authorization": "Bearer t"})
    config = RestConfig(
        name="r",
        type="rest",
        url=site.url("/api"),
        records="data",
        pagination=Pagination(kind="cursor", path="next", param="after"),
        http=secret,
    )
    assert keys(RestSource(config, HttpClient(secret))) == ["1", "2"]
    assert seen == [("localhost", None), ("localhost", None)]
