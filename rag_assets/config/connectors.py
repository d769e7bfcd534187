"""Sources behind web servers: sites, feeds, REST APIs."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rag_assets.config.base import Section
from rag_assets.config.sources import KeptSource, SourceConfig


class HttpSettings(Section):
    """How a source talks to web servers.

    interval: seconds between two requests to one host. allow_private: whether addresses of private
    networks may be asked; names are resolved once and the address is checked, redirects too.
    """

    interval: Annotated[float, Field(ge=0)] = 0.0
    timeout: Annotated[float, Field(gt=0)] = 20.0
    allow_private: bool = False
    headers: Annotated[dict[str, str], Field(repr=False)] = {}


class WebConfig(KeptSource):
    """Pages of a site, from its sitemaps or by following links within `prefix`.

    start: pages or sitemaps. prefix: what addresses must begin with; the folder of the first start
    page when empty.
    """

    type: Literal["web"]
    start: Annotated[list[str], Field(min_length=1)]
    prefix: str = ""
    max_pages: Annotated[int, Field(ge=1)] = 2000
    every: Annotated[float, Field(ge=0)] = 600.0
    http: HttpSettings = HttpSettings(interval=0.5)


class FeedConfig(KeptSource):
    """Articles of RSS and Atom feeds. They stay when they roll off the feed.

    articles: fetch the page that an item links to, instead of what the feed holds of it.
    """

    type: Literal["feed"]
    feeds: Annotated[list[str], Field(min_length=1, repr=False)]
    articles: bool = True
    every: Annotated[float, Field(ge=0)] = 300.0
    http: HttpSettings = HttpSettings(interval=0.5)


class Pagination(Section):
    """How a REST API gives its next page.

    link_header: `Link: <…>; rel="next"`. next_url: the address lies at `path` in the answer.
    cursor: the value at `path` goes into the parameter `param`. page, offset: `param` counts from
    `first`, by 1 or by the number of records. more: path of a flag that is false on the last page.
    """

    kind: Literal["none", "link_header", "next_url", "cursor", "page", "offset"] = "none"
    path: str = ""
    param: str = ""
    first: int = 1
    more: str = ""

    @model_validator(mode="after")
    def _complete(self) -> "Pagination":
        if self.kind in {"next_url", "cursor"} and not self.path:
            raise ValueError(f"kind {self.kind!r} needs path")
        if self.kind in {"cursor", "page", "offset"} and not self.param:
            raise ValueError(f"kind {self.kind!r} needs param")
        return self


class RestConfig(SourceConfig):
    """Records of any REST API that answers in JSON.

    records: where the list lies in an answer, such as data.items; the answer itself when empty.
    id, updated_at: paths in a record. text, title, uri: a path, or a template such as
    "{subject}: {user.name}". deleted: field → values that mark a record as deleted.
    """

    paged: ClassVar[bool] = True

    type: Literal["rest"]
    url: Annotated[str, Field(pattern="^https?://", repr=False)]
    params: Annotated[dict[str, str | int], Field(repr=False)] = {}
    records: str = ""
    id: str = "id"
    text: str = "text"
    title: str | None = None
    uri: str | None = None
    updated_at: str | None = None
    deleted: dict[str, list[str | int | bool]] = {}
    metadata_fields: list[str] = []
    pagination: Pagination = Pagination()
    every: Annotated[float, Field(ge=0)] = 60.0
    http: HttpSettings = HttpSettings()


class NotionConfig(SourceConfig):
    """The pages that a Notion integration can see."""

    paged: ClassVar[bool] = True

    type: Literal["notion"]
    token: Annotated[str, Field(min_length=1, repr=False)]
    url: Annotated[str, Field(pattern="^https?://")] = "https://api.notion.com"
    every: Annotated[float, Field(ge=0)] = 60.0
    http: HttpSettings = HttpSettings(interval=0.34)  # three requests a second are allowed
