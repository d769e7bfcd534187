from contextlib import contextmanager

import pytest

from rag_assets.config import ConfluenceConfig, HttpSettings, JiraConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets_tests.sources import site
from rag_assets_tests.sources.atlassian import Confluence, Jira, Page
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch
from rag_assets_tests.sources.contract_http import HttpContract, slept

__all__ = ["slept"]
LOOPBACK = HttpSettings(allow_private=True)


@pytest.fixture
def served():
    with site.serving() as found:
        yield found


@pytest.fixture
def wiki(served):
    return Confluence(served)


def of_wiki(wiki, **settings):
    config = {"name": "w", "type": "confluence", "url": wiki.url, "user": "me", "token": "secret"}
    return ConfluenceConfig(**config, http=LOOPBACK, **settings)


def confluence(wiki, **settings):
    return open_source(of_wiki(wiki, **settings))


def acl(wiki, **settings):
    return {entry.key.split("/")[1]: entry.acl for entry in confluence(wiki, **settings).scan()}


class ConfluenceWorld:
    def __init__(self, wiki):
        self.wiki = wiki
        self.site = wiki.site

    def config(self):
        return of_wiki(self.wiki)

    def put(self, name, text):
        self.wiki.put(name, Page(text))

    def delete(self, name):
        self.wiki.delete(name)

    @contextmanager
    def broken(self):
        self.wiki.fail_from = 2
        yield
        self.wiki.fail_from = None


class TestConfluence(DeletingSourceContract, HttpContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, wiki):
        return ConfluenceWorld(wiki)


def test_a_page_with_its_comments_and_its_attachments(wiki):
    files = {"plan.txt": b"the plan", "map.txt": b"the map"}
    wiki.put("1", Page("Where the keys hang.", comments=["In the hall."], files=files))
    source = confluence(wiki)
    found = {entry.key: entry for entry in source.scan()}
    assert sorted(found) == ["TEAM/1", "TEAM/1/att-map.txt/map.txt", "TEAM/1/att-plan.txt/plan.txt"]
    page = found["TEAM/1"]
    assert page.uri == wiki.site.url("/wiki/spaces/TEAM/pages/1")
    assert page.metadata == {"space": "TEAM", "labels": "howto"}
    assert page.modified_at.isoformat() == "2026-05-01T10:00:00+00:00"
    text = source.fetch(page).decode()
    assert "<p>Where the keys hang.</p>" in text
    assert "<h2>Comment by Ann &lt;b&gt;</h2>\n<p>In the hall.</p>" in text
    assert source.fetch(found["TEAM/1/att-plan.txt/plan.txt"]) == b"the plan"
    assert found["TEAM/1/att-map.txt/map.txt"].metadata["attached_to"] == "w/TEAM/1"


def test_a_comment_moves_the_token_of_its_page(wiki):
    wiki.put("1", Page("text"))
    [before] = confluence(wiki).scan()
    wiki.pages["1"].comments.append("new")
    [after] = confluence(wiki).scan()
    assert before.token != after.token
    assert [e.token for e in confluence(wiki, comments=False).scan()] == [before.token]


def test_readers_are_those_whom_every_level_lets(wiki):
    wiki.group("staff", ["ann", "bo", "cy"])
    wiki.group("board", ["cy", "di", "ed"])
    wiki.readers = ("staff",)
    wiki.put("open", Page("x"))
    wiki.put("ann", Page("x", readers=("user:ann",)))
    wiki.put("stranger", Page("x", readers=("user:zoe",)))
    wiki.put("board", Page("x", readers=("board",)))
    wiki.put("below", Page("x", above=("board",)))
    wiki.put("lower", Page("x", above=("board", "below"), readers=("user:cy", "user:bo")))
    wiki.put("unseen", Page("x", above=("hidden",)))
    assert acl(wiki) == {
        "open": ("staff",),
        "ann": ("user:ann",),
        "stranger": (),
        "board": ("user:cy",),
        "below": ("user:cy",),
        "lower": ("user:cy",),
        "unseen": (),
    }
    assert set(acl(wiki, permissions=False, acl=["hr"]).values()) == {("hr",)}


def test_an_open_space_needs_no_groups_opened(wiki):
    wiki.put("1", Page("x", readers=("board",)))
    wiki.put("2", Page("x"))
    assert acl(wiki) == {"1": ("board",), "2": ("everyone",)}
    assert not any("api/group" in path for path in wiki.site.requests)


def test_a_group_that_cannot_be_opened_lets_nobody_in(wiki):
    wiki.readers = ("staff",)
    wiki.put("1", Page("x", readers=("board",)))
    assert acl(wiki) == {"1": ()}


def test_too_many_requests_are_tried_again(wiki):
    wiki.put("1", Page("x"))
    wiki.refusals = 1
    assert len(list(confluence(wiki).scan())) == 1
    assert wiki.refusals == 0


def test_an_attachment_above_the_limit_is_listed_and_not_fetched(wiki):
    wiki.put("1", Page("x", files={"film.bin": bytes((1 << 20) + 1) + bytes(1 << 20)}))
    problems = [entry.problem for entry in confluence(wiki, max_mib=1).scan()]
    assert problems == [None, "too large: 2 MiB, the limit of this source is max_mib: 1"]


def test_wrong_credentials_and_unknown_spaces_are_told_without_the_token(wiki):
    config = ConfluenceConfig(
        name="w", type="confluence", url=wiki.url, user="me", token="wrong", http=LOOPBACK
    )
    assert "wrong" not in repr(config)
    with pytest.raises(SourceError, match="status 401: check the credentials") as caught:
        list(open_source(config).scan())
    assert "wrong" not in str(caught.value)
    with pytest.raises(SourceError, match=r"spaces \['HR'\] are not there.*nothing of the source"):
        list(confluence(wiki, spaces=["HR"]).scan())


@pytest.fixture(params=["cloud", "server"])
def tracker(request, served):
    return Jira(served, server=request.param == "server"), request.param


def of_tracker(tracker, **settings):
    found, api = tracker
    config = {"name": "j", "type": "jira", "url": found.site.url(), "token": "secret", "api": api}
    return JiraConfig(**config, http=LOOPBACK, **settings)


def jira(tracker, **settings):
    return open_source(of_tracker(tracker, **settings))


class JiraWorld:
    def __init__(self, tracker):
        self.tracker = tracker
        self.site = tracker[0].site

    def config(self):
        return of_tracker(self.tracker)

    def put(self, name, text):
        self.tracker[0].put(name, text)

    def delete(self, name):
        del self.tracker[0].issues[name]

    @contextmanager
    def broken(self):
        self.tracker[0].fail_from = 2
        yield
        self.tracker[0].fail_from = None


class TestJira(DeletingSourceContract, HttpContract):
    @pytest.fixture
    def world(self, tracker):
        return JiraWorld(tracker)


class TestJiraToTheSearch(ReachesTheSearch):
    @pytest.fixture
    def world(self, served):
        return JiraWorld((Jira(served), "cloud"))


def test_an_issue_with_its_comments_and_its_attachment(tracker):
    tracker[0].put(
        "OPS-1", "It jams.", ["first", "a secret", "third"], {"log.txt": b"jam"}, security="Staff"
    )
    source = jira(tracker, jql="project = OPS")
    issue, attachment = source.scan()
    assert tracker[0].queries == ["(project = OPS) ORDER BY created ASC, key ASC"]
    assert (issue.key, issue.title) == ("OPS-1", "OPS-1: Printer & paper")
    assert issue.metadata == {"project": "OPS", "status": "Open", "labels": "a, b"}
    assert issue.acl == attachment.acl == ("security:Staff",)
    assert issue.modified_at.isoformat() == "2026-05-01T10:01:00+02:00"
    text = source.fetch(issue).decode()
    assert "<h1>Printer &amp; paper</h1><p>It jams.</p>" in text
    assert text.count("<h2>Comment by Bo</h2>") == 2
    assert "secret" not in text
    assert attachment.key == "OPS-1/10/log.txt"
    assert source.fetch(attachment) == b"jam"


def test_credentials_do_not_follow_to_another_host(served):
    with site.serving() as other:
        seen = []
        other.apis["/file"] = lambda query, sent: (seen.append(sent), site.Answer(b"data"))[1]
        tracker = Jira(served)
        tracker.put("OPS-1", "x", files={"a.txt": b"1"})
        path = "/rest/api/2/attachment/content/10"
        served.pages[path] = site.Answer(status=303, headers={"Location": other.url("/file")})
        source = jira((tracker, "cloud"))
        _, attachment = source.scan()
        assert source.fetch(attachment) == b"data"
        assert "authorization" not in seen[0]
