"""A Confluence and a Jira as their REST APIs show them, on a loopback port.

Small pages, links relative to the installation's own path, refusals for too many requests: what a
client of the real ones meets.
"""

from dataclasses import dataclass, field

from rag_assets_tests.sources.site import Answer, Site, as_json

CONTEXT = "/wiki"
PAGE = 2


def results(items, link=None):
    return {"results": items, "_links": {"next": link} if link else {}}


def subjects(principals):
    """Groups by name, people as user:ACCOUNT, in the form of the API."""
    people = [name.removeprefix("user:") for name in principals if name.startswith("user:")]
    groups = [name for name in principals if not name.startswith("user:")]
    return {
        "user": results([{"type": "known", "accountId": name} for name in people]),
        "group": results([{"type": "group", "name": name} for name in groups]),
    }


@dataclass
class Page:
    text: str
    title: str = "Page"
    version: int = 1
    above: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    comments: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


class Confluence:
    """pages: id → Page of the one space TEAM. readers: of the space. groups: name → accounts."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pages: dict[str, Page] = {}
        self.readers: tuple[str, ...] = ("everyone",)
        self.groups: dict[str, list[str]] = {}
        self.fail_from: int | None = None
        self.refusals = 0
        site.apis[f"{CONTEXT}/rest/api/space"] = self.spaces
        site.apis[f"{CONTEXT}/rest/api/content"] = self.content

    @property
    def url(self) -> str:
        return self.site.url(CONTEXT)

    def put(self, identity: str, page: Page) -> None:
        held = self.pages.get(identity)
        page.version = held.version + 1 if held else 1
        self.pages[identity] = page
        path = f"{CONTEXT}/rest/api/content/{identity}"
        self.site.apis[path] = lambda query, sent: self.body(identity)
        self.site.apis[f"{path}/child/comment"] = lambda query, sent: self.comments(identity, query)
        self.site.apis[f"{path}/child/attachment"] = lambda query, sent: as_json(
            results(self.attachments(identity)[1:])
        )

    def delete(self, identity: str) -> None:
        del self.pages[identity]

    def group(self, name: str, accounts: list[str]) -> None:
        def members(query, sent):
            start = int(query.get("start", 0))
            found = [{"accountId": account} for account in accounts[start : start + PAGE]]
            following = f"/rest/api/group/{name}/member?start={start + PAGE}"
            return as_json(results(found, following if accounts[start + PAGE :] else None))

        self.site.apis[f"{CONTEXT}/rest/api/group/{name}/member"] = members

    def spaces(self, query, sent) -> Answer:
        if sent.get("authorization") != "Basic bWU6c2VjcmV0":
            return Answer(status=401)
        if self.refusals:
            self.refusals -= 1
            return Answer(status=429, headers={"Retry-After": "0"})
        named = [name for name in self.readers if name != "everyone"]
        read = {"operation": {"operation": "read", "targetType": "space"}}
        write = {"operation": {"operation": "create", "targetType": "page"}}
        permissions = [
            {**read, "subjects": subjects(named), "anonymousAccess": "everyone" in self.readers},
            {**write, "subjects": subjects(["writers"]), "anonymousAccess": False},
        ]
        return as_json(results([{"key": "TEAM", "permissions": permissions}]))

    def content(self, query, sent) -> Answer:
        assert (query["spaceKey"], query["status"]) == ("TEAM", "current")
        if query["type"] == "blogpost":
            return as_json(results([]))
        start = int(query.get("start", 0))
        if self.fail_from is not None and start >= self.fail_from:
            return Answer(b'{"results": [{"id": "1"')
        names = sorted(self.pages)
        link = None
        if names[start + PAGE :]:
            link = f"{CONTEXT}/rest/api/content?spaceKey=TEAM&type=page&status=current&start="
            link += str(start + PAGE)
        return as_json(results([self.listed(n) for n in names[start : start + PAGE]], link))

    def listed(self, identity: str) -> dict:
        page = self.pages[identity]
        comments = [{"id": f"c{i}", "version": {"number": 1}} for i in range(len(page.comments))]
        files = self.attachments(identity)
        more = f"/rest/api/content/{identity}/child/attachment?start=1" if files[1:] else None
        return {
            "id": identity,
            "title": page.title,
            "version": {"number": page.version, "when": "2026-05-01T10:00:00.000Z"},
            "ancestors": [{"id": above} for above in page.above],
            "metadata": {"labels": results([{"name": "howto"}])},
            "restrictions": {"read": {"restrictions": subjects(page.readers)}},
            "children": {"attachment": results(files[:1], more), "comment": results(comments)},
            "_links": {"webui": f"/spaces/TEAM/pages/{identity}"},
        }

    def attachments(self, identity: str) -> list[dict]:
        found = []
        for name, data in self.pages[identity].files.items():
            path = f"/download/attachments/{identity}/{name}"
            self.site.pages[f"{CONTEXT}{path}?version=1"] = Answer(data)
            version = {"number": 1, "when": "2026-05-01T10:00:00.000Z"}
            found.append(
                {
                    "id": f"att-{name}",
                    "title": name,
                    "version": version,
                    "extensions": {"fileSize": len(data)},
                    "_links": {"download": f"{path}?version=1"},
                }
            )
        return found

    def body(self, identity: str) -> Answer:
        if identity not in self.pages:
            return Answer(status=404)
        page = self.pages[identity]
        return as_json({"title": page.title, "body": {"view": {"value": f"<p>{page.text}</p>"}}})

    def comments(self, identity: str, query) -> Answer:
        said = self.pages[identity].comments if identity in self.pages else []
        who = {"createdBy": {"displayName": "Ann <b>"}}
        found = [{"body": {"view": {"value": f"<p>{text}</p>"}}, "history": who} for text in said]
        return as_json(results(found))


class Jira:
    """issues: key → its fields and comments. server: the paging of Data Center."""

    def __init__(self, site: Site, *, server: bool = False) -> None:
        self.site = site
        self.issues: dict[str, dict] = {}
        self.queries: list[str] = []
        self.fail_from: int | None = None
        self.edits = 0
        site.apis["/rest/api/2/search"] = self.search_server if server else self.gone
        site.apis["/rest/api/2/search/jql"] = self.gone if server else self.search_cloud

    def gone(self, query, sent) -> Answer:
        return Answer(status=410)

    def put(self, key: str, text: str, comments=(), files=None, security=None) -> None:
        self.edits += 1
        attachments = []
        for number, (name, data) in enumerate((files or {}).items(), start=10):
            path = f"/rest/api/2/attachment/content/{number}"
            self.site.pages[path] = Answer(data)
            attachments.append(
                {
                    "id": str(number),
                    "filename": name,
                    "size": len(data),
                    "content": self.site.url(path),
                    "created": "2026-05-01T10:00:00.000+0200",
                }
            )
        self.issues[key] = {
            "summary": "Printer & paper",
            "updated": f"2026-05-01T10:{self.edits:02d}:00.000+0200",
            "project": {"key": key.partition("-")[0]},
            "status": {"name": "Open"},
            "labels": ["a", "b"],
            "security": {"name": security} if security else None,
            "attachment": attachments,
            "text": text,
            "comments": list(comments),
        }
        self.site.apis[f"/rest/api/2/issue/{key}"] = lambda query, sent: self.issue(key)
        self.site.apis[f"/rest/api/2/issue/{key}/comment"] = lambda query, sent: self.comment(
            key, int(query["startAt"])
        )

    def search_cloud(self, query, sent) -> Answer:
        start = int(query.get("nextPageToken", "token-0").partition("-")[2])
        found, more = self.found(query, start)
        if found is None:
            return Answer(status=400)
        following = {"nextPageToken": f"token-{start + PAGE}"} if more else {"isLast": True}
        return as_json({"issues": found, **following})

    def search_server(self, query, sent) -> Answer:
        found, _ = self.found(query, int(query.get("startAt", 0)))
        if found is None:
            return Answer(status=400)
        return as_json({"issues": found, "total": len(self.issues)})

    def found(self, query, start: int):
        self.queries.append(query["jql"])
        if self.fail_from is not None and start >= self.fail_from:
            return None, False
        keys = sorted(self.issues)
        shown = [{"key": key, "fields": self.issues[key]} for key in keys[start : start + PAGE]]
        return shown, bool(keys[start + PAGE :])

    def issue(self, key: str) -> Answer:
        if key not in self.issues:
            return Answer(status=404)
        rendered = {"description": f"<p>{self.issues[key]['text']}</p>"}
        fields = {"summary": self.issues[key]["summary"]}
        return as_json({"fields": fields, "renderedFields": rendered})

    def comment(self, key: str, start: int) -> Answer:
        said = self.issues[key]["comments"]
        found = [
            {
                "author": {"displayName": "Bo"},
                "renderedBody": f"<p>{text}</p>",
                **({"visibility": {"type": "role", "value": "Agents"}} if "secret" in text else {}),
            }
            for text in said[start : start + PAGE]
        ]
        return as_json({"comments": found, "total": len(said)})
