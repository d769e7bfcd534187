"""Who is told what, and what may be spent."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from rag_assets.config.base import Fraction, Section

EventName = Literal[
    "promoted", "refused", "held", "quarantine", "silent", "budget", "failed", "resolved"
]


def _nothing_if_empty(value: Any) -> Any:
    """`${SLACK_WEBHOOK_URL:-}` of an unset variable turns the channel off."""
    return None if value == "" else value


_Optional = Annotated[str | None, BeforeValidator(_nothing_if_empty), Field(repr=False)]


class SlackConfig(Section):
    """An incoming webhook's address; or a bot's token with the channel it writes to."""

    webhook: _Optional = None
    token: _Optional = None
    channel: str | None = None
    base_url: Annotated[str, Field(pattern="^https?://")] = "https://slack.com/api/"

    @model_validator(mode="after")
    def _one_way(self) -> "SlackConfig":
        if self.webhook and self.token:
            raise ValueError("expected webhook or token, found both")
        if self.token and not self.channel:
            raise ValueError("token needs channel, such as '#knowledge-base'")
        return self

    @property
    def active(self) -> bool:
        """Whether it can send."""
        return bool(self.webhook or self.token)


class EmailConfig(Section):
    """A mail server and who is written to. security: how the connection is encrypted."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: _Optional = None
    password: _Optional = None
    sender: Annotated[str, Field(min_length=3)]
    to: Annotated[list[str], Field(min_length=1)]


class WebhookConfig(Section):
    """Any address that takes a POST of JSON.

    secret: signs the body with HMAC-SHA256 in the header X-Rag-Signature.
    """

    url: Annotated[_Optional, Field(pattern="^https?://")]
    headers: dict[str, str] = {}
    secret: _Optional = None


class NotifyConfig(Section):
    """Where messages go, and which.

    quarantine_rate: share of a source's documents that may be in quarantine. quiet_minutes: a
    message on the same subject is not sent sooner. repeat_hours: what stays wrong is told again.
    link: address of the Dagster UI, for links to runs.
    """

    slack: SlackConfig | None = None
    email: EmailConfig | None = None
    webhook: WebhookConfig | None = None
    events: list[EventName] = list(get_args(EventName))
    quarantine_rate: Fraction = 0.05
    quiet_minutes: Annotated[float, Field(ge=0)] = 10.0
    repeat_hours: Annotated[float, Field(gt=0)] = 24.0
    link: Annotated[str, Field(pattern="^https?://")] | None = None

    @property
    def active(self) -> bool:
        """Whether anybody is told anything."""
        slack = self.slack is not None and self.slack.active
        webhook = self.webhook is not None and bool(self.webhook.url)
        return slack or webhook or self.email is not None


class CostsConfig(Section):
    """What may be spent on models in a calendar month (UTC).

    budget_usd: no call is made that could go over it. warn_at: share from which people are told.
    """

    budget_usd: Annotated[float, Field(ge=0)] | None = None
    warn_at: Fraction = 0.8


class UpkeepConfig(Section):
    """How many days is kept what nothing needs any more.

    receipts: of single refreshes, and evaluation reports of removed versions; their sums stay.
    runs: in Dagster's own storage. removed_sources: what was read and kept of sources that the
    configuration no longer names. bucket_hours: what a storage in a bucket no longer refers to, for
    readers that are still at it.
    """

    receipts: Annotated[int, Field(ge=1)] = 90
    runs: Annotated[int, Field(ge=1)] = 90
    removed_sources: Annotated[int, Field(ge=0)] = 30
    bucket_hours: Annotated[float, Field(ge=0)] = 24.0
