"""A repository served by git's own daemon, beside the answers of the API."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from hashlib import sha512

import pytest

from rag_assets.config import GithubConfig, HttpSettings
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets_tests.sources import site
from rag_assets_tests.sources.contract import DeletingSourceContract, ReachesTheSearch
from rag_assets_tests.sources.contract_http import HttpContract, slept
from rag_assets_tests.sources.site import Answer, as_json

__all__ = ["slept"]
LOOPBACK = HttpSettings(allow_private=True)
AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]


class Repository:
    """A repository with a working tree, and the address of the daemon that serves it."""

    def __init__(self, root, address):
        self.root = root / "team" / "docs"
        self.address = address
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments):
        command = ["git", *AUTHOR, *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True).stdout

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.commit()

    def delete(self, path):
        (self.root / path).unlink()
        self.commit()

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change", "--allow-empty")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("git is not installed: apt-get install git")
    root = tmp_path_factory.mktemp("repositories")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={root}"]
    process = subprocess.Popen(
        [*command, "--listen=127.0.0.1", f"--port={port}", str(root)], start_new_session=True
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield root, port
    # Of the group: git starts the daemon as a child, and asked to end it waits for that one.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def repository(daemon, request):
    root, port = daemon
    place = root / str(abs(hash(request.node.nodeid)))
    return Repository(place, f"git://127.0.0.1:{port}/{place.name}")


def of_repository(repository, path, **settings):
    config = {"name": "g", "type": "github", "repository": "team/docs", "path": str(path)}
    config |= {"git_url": repository.address, "issues": False, "http": LOOPBACK}
    return GithubConfig(**config | settings)


def github(repository, path, **settings):
    return open_source(of_repository(repository, path, **settings))


class RepositoryWorld:
    def __init__(self, repository, path):
        self.repository = repository
        self.path = path
        repository.commit()

    def config(self):
        return of_repository(self.repository, self.path)

    def put(self, name, text):
        self.repository.write(f"docs/{name}.md", text)

    def delete(self, name):
        self.repository.delete(f"docs/{name}.md")

    @contextmanager
    def broken(self):
        away = self.repository.root.with_name("away")
        self.repository.root.rename(away)
        yield
        away.rename(self.repository.root)


class TestRepository(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, repository, tmp_path):
        return RepositoryWorld(repository, tmp_path)


def test_files_of_a_ref_and_only_the_chosen_ones(repository, tmp_path):
    repository.write("docs/a.md", "one")
    repository.write("src/a.py", "code")
    (repository.root / "docs" / "link.md").symlink_to("a.md")
    (repository.root / "docs" / os.fsdecode(b"n\xe4he.md")).write_text("near")
    repository.commit()
    repository.git("tag", "-a", "v1", "-m", "release")
    repository.write("docs/b.md", "two")
    chosen = {"include": ["docs/**"]}
    names = [entry.key for entry in github(repository, tmp_path, **chosen).scan()]
    assert names == ["files/docs/a.md", "files/docs/b.md", "files/docs/n%E4he.md"]
    entry, odd = github(repository, tmp_path, ref="v1", **chosen).scan()
    assert github(repository, tmp_path, ref="v1").fetch(odd) == b"near"
    assert entry.uri == f"{repository.address}/team/docs/blob/v1/docs/a.md"
    assert github(repository, tmp_path, ref="v1").fetch(entry) == b"one"
    with pytest.raises(SourceError, match=r"no branch or tag 'nope'.*nothing of"):
        list(github(repository, tmp_path, ref="nope").scan())


def test_a_new_commit_brings_only_what_is_new(repository, tmp_path):
    for number in range(30):
        repository.write(f"{number}.txt", sha512(str(number).encode()).hexdigest() * 4)
    list(github(repository, tmp_path).scan())
    packs = tmp_path / "repository.git" / "objects" / "pack"
    first = max(pack.stat().st_size for pack in packs.glob("*.pack"))
    list(github(repository, tmp_path).scan())
    assert len(list(packs.glob("*.pack"))) == 1
    repository.write("new.txt", "new")
    assert len(list(github(repository, tmp_path).scan())) == 31
    sizes = sorted(pack.stat().st_size for pack in packs.glob("*.pack"))
    assert len(sizes) == 2
    assert sizes[0] < first / 2


class Api:
    """Issues and discussions: two a page."""

    def __init__(self, served):
        self.site = served
        self.issues = {}
        self.edits = 0
        self.cut = False
        served.apis["/repos/team/docs/issues"] = self.listed
        served.posts["/graphql"] = self.graphql

    def put(self, number, title, body, comments=(), pull=False):
        self.edits += 1
        moment = f"2026-05-01T{self.edits // 60:02d}:{self.edits % 60:02d}:00Z"
        issue = {
            "number": number,
            "title": title,
            "body": body,
            "state": "open",
            "updated_at": moment,
            "html_url": f"https://github.example/team/docs/issues/{number}",
            "labels": [{"name": "bug"}],
            "user": {"login": "ann"},
        }
        self.issues[number] = issue | ({"pull_request": {"url": "x"}} if pull else {})
        path = f"/repos/team/docs/issues/{number}"
        said = [{"user": {"login": "bo"}, "body": text} for text in comments]
        self.site.apis[path] = lambda query, sent: as_json(self.issues[number])
        self.site.apis[f"{path}/comments"] = lambda query, sent: as_json(said)
        review = [{"user": {"login": "cy"}, "body": "Nice line.", "path": "a.py"}]
        reviews = f"/repos/team/docs/pulls/{number}/comments"
        self.site.apis[reviews] = lambda query, sent: as_json(review)

    def listed(self, query, sent):
        assert (query["state"], query["sort"], query["direction"]) == ("all", "created", "asc")
        page = int(query.get("page", 1))
        if self.cut and page == 2:
            return Answer(b"[")
        numbers = sorted(self.issues)[2 * page - 2 :]
        address = self.site.url(
            f"/repos/team/docs/issues?state=all&sort=created&direction=asc&page={page + 1}"
        )
        headers = {"Link": f'<{address}>; rel="next", <{address}>; rel="last"'}
        shown = [self.issues[number] for number in numbers[:2]]
        return as_json(shown, **(headers if numbers[2:] else {}))

    def graphql(self, asked):
        variables = asked["variables"]
        assert (variables["owner"], variables["name"]) == ("team", "docs")
        if "number" in variables:
            second = variables["after"] == "1"
            comment = {
                "body": "second" if second else "first",
                "author": {"login": "bo"},
                "replies": {"nodes": [] if second else [{"body": "reply", "author": None}]},
            }
            found = {
                "title": "Ideas",
                "body": "Any?",
                "comments": {
                    "pageInfo": {"hasNextPage": not second, "endCursor": "1"},
                    "nodes": [comment],
                },
            }
            return as_json({"data": {"repository": {"discussion": found}}})
        if variables["after"] == "broken":
            return as_json({"errors": [{"message": "no rights"}], "data": None})
        node = {
            "number": 7,
            "title": "Ideas",
            "url": "https://github.example/d/7",
            "updatedAt": "2026-05-01T10:00:00Z",
            "category": {"name": "General"},
        }
        page = {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": [node]}
        return as_json({"data": {"repository": {"discussions": page}}})


@pytest.fixture
def api():
    with site.serving() as served:
        yield Api(served)


def of_issues(api, tmp_path, **settings):
    config = {"name": "g", "type": "github", "repository": "team/docs", "path": str(tmp_path)}
    config |= {"files": False, "url": api.site.url(""), "http": LOOPBACK, "token": "ghp_secret"}
    return GithubConfig(**config | settings)


def issues(api, tmp_path, **settings):
    return open_source(of_issues(api, tmp_path, **settings))


class IssuesWorld:
    def __init__(self, api, path):
        self.api = api
        self.site = api.site
        self.path = path

    def config(self):
        return of_issues(self.api, self.path)

    def put(self, name, text):
        self.api.put(name, "Title", text)

    def delete(self, name):
        del self.api.issues[name]
        del self.site.apis[f"/repos/team/docs/issues/{name}"]

    @contextmanager
    def broken(self):
        self.api.cut = True
        yield
        self.api.cut = False


class TestIssues(DeletingSourceContract, HttpContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, api, tmp_path):
        return IssuesWorld(api, tmp_path)


def test_issues_and_pull_requests_with_what_was_said(api, tmp_path):
    api.put(1, "Jam", "It jams.", ["Same here.", ""])
    api.put(2, "Fix", "Fixes it.", pull=True)
    api.put(3, "Third", None)
    source = issues(api, tmp_path)
    found = {entry.key: entry for entry in source.scan()}
    assert sorted(found) == ["issues/1", "issues/2", "issues/3"]
    assert found["issues/2"].metadata == {"kind": "pull request", "state": "open", "labels": "bug"}
    said = source.fetch(found["issues/1"]).decode()
    assert said.split("\n\n")[:4] == ["# Jam", "It jams.", "## bo", "Same here."]
    assert "## cy on `a.py`\n\nNice line." in source.fetch(found["issues/2"]).decode()


def test_discussions_with_their_replies(api, tmp_path):
    source = issues(api, tmp_path, issues=False, discussions=True)
    [entry] = source.scan()
    assert (entry.key, entry.metadata["category"]) == ("discussions/7", "General")
    said = source.fetch(entry).decode()
    assert said == "# Ideas\n\nAny?\n\n## bo\n\nfirst\n\n## somebody\n\nreply\n\n## bo\n\nsecond"


def test_a_list_that_breaks_off_is_an_error(api, tmp_path):
    for number in (1, 2, 3):
        api.put(number, "t", "b")
    listed = api.listed
    api.site.apis["/repos/team/docs/issues"] = lambda query, sent: (
        Answer(b"[") if query.get("page") == "2" else listed(query, sent)
    )
    with pytest.raises(SourceError, match="nothing of the source was changed"):
        list(issues(api, tmp_path).scan())
    api.site.posts["/graphql"] = lambda asked: as_json({"errors": [{"message": "no rights"}]})
    with pytest.raises(SourceError, match="no rights"):
        list(issues(api, tmp_path, issues=False, discussions=True).scan())


def test_the_token_is_asked_for_and_never_shown(api, tmp_path):
    seen = []
    api.site.apis["/repos/team/docs/issues"] = lambda query, sent: (
        seen.append(sent),
        Answer(json.dumps({"message": "Bad credentials"}).encode(), status=401),
    )[1]
    with pytest.raises(SourceError, match="check the credentials") as caught:
        list(issues(api, tmp_path).scan())
    assert seen[0]["authorization"] == "Bearer ghp_secret"
    assert "ghp_secret" not in str(caught.value)


def test_a_git_server_that_stays_silent_is_given_up(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = GithubConfig(
            name="g",
            type="github",
            repository="a/b",
            issues=False,
            path=str(tmp_path),
            git_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            http=HttpSettings(timeout=0.1),
        )
        with pytest.raises(SourceError, match=r"cannot be fetched.*timed out.*nothing of"):
            list(open_source(config).scan())
