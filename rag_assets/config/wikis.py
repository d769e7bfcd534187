"""Sources behind an account: wikis, trackers, repositories, help desks, chats."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rag_assets.config.connectors import HttpSettings
from rag_assets.config.sources import KeptSource, SourceConfig

Secret = Annotated[str, Field(min_length=1, repr=False)]
HttpUrl = Annotated[str, Field(pattern="^https?://")]


class AtlassianConfig(SourceConfig):
    """What Confluence and Jira have in common.

    user: the account's address in the cloud, where `token` is an API token; without one `token` is
    a personal access token of a Data Center installation. attachments: files too, as documents.
    """

    paged: ClassVar[bool] = True

    url: HttpUrl
    user: str = ""
    token: Secret
    comments: bool = True
    attachments: bool = True
    max_mib: Annotated[int, Field(ge=1, le=64)] = 32  # a larger attachment is quarantined unread
    every: Annotated[float, Field(ge=0)] = 300.0
    http: HttpSettings = HttpSettings()


class ConfluenceConfig(AtlassianConfig):
    """Pages and blog posts of a Confluence, such as https://company.atlassian.net/wiki.

    spaces: their keys; all that the account sees when empty. permissions: who may read becomes the
    documents' `acl`: groups by name, people as user:ACCOUNT; off leaves it to `acl`.
    """

    type: Literal["confluence"]
    spaces: list[str] = []
    permissions: bool = True


class JiraConfig(AtlassianConfig):
    """Issues of a Jira that a JQL query finds.

    api: cloud, or server for Data Center. An issue with a security level is readable by the group
    security:LEVEL alone; comments for a role or a group only are left out.
    """

    type: Literal["jira"]
    jql: str = "created is not EMPTY"
    api: Literal["cloud", "server"] = "cloud"


class GithubConfig(KeptSource):
    """A GitHub repository: its files at a ref, its issues and pull requests, its discussions.

    repository: OWNER/NAME. ref: a branch or tag; the default branch when empty. include, exclude:
    globs of files. token: needed for private repositories and discussions. url and git_url are
    those of an Enterprise server where it is not github.com.
    """

    paged: ClassVar[bool] = True

    type: Literal["github"]
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    ref: str = ""
    files: bool = True
    issues: bool = True
    discussions: bool = False
    include: list[str] = ["**/*"]
    exclude: list[str] = []
    max_mib: Annotated[int, Field(ge=1, le=1024)] = 32
    token: Annotated[str, Field(repr=False)] = ""
    url: HttpUrl = "https://api.github.com"
    git_url: Annotated[str, Field(pattern="^(https?|git)://")] = "https://github.com"
    every: Annotated[float, Field(ge=0)] = 300.0
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _complete(self) -> "GithubConfig":
        if self.discussions and not self.token:
            raise ValueError("discussions are asked through GraphQL, which needs a token")
        return self


class TicketsConfig(KeptSource):
    """Tickets of a Zendesk-style help desk, with their comments.

    user: the agent's address; without one `token` is an OAuth token. private_comments: notes that
    only agents see, too.
    """

    may_be_empty: ClassVar[bool] = True

    type: Literal["tickets"]
    url: HttpUrl
    user: str = ""
    token: Secret
    private_comments: bool = False
    every: Annotated[float, Field(ge=0)] = 60.0
    delete_guard: Annotated[float, Field(ge=0, le=1)] = 1.0
    http: HttpSettings = HttpSettings()


class TelegramConfig(KeptSource):
    """Messages of Telegram channels and groups: exports, and what a bot in them receives.

    exports: result.json files of the desktop application. token: the bot's. chats: ids or names
    whose messages count; a bot is written to by anybody, so a token needs them.
    """

    may_be_empty: ClassVar[bool] = True

    type: Literal["telegram"]
    exports: list[str] = []
    token: Annotated[str, Field(repr=False)] = ""
    chats: list[str | int] = []
    url: HttpUrl = "https://api.telegram.org"
    every: Annotated[float, Field(ge=0)] = 10.0
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _complete(self) -> "TelegramConfig":
        if not self.exports and not self.token:
            raise ValueError("expected exports, a bot's token, or both")
        if self.token and not self.chats:
            raise ValueError("a bot's token needs chats: ids or names whose messages count")
        return self
