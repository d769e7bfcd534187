"""Sources of the knowledge base's own network: files, tables, pushed documents."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from rag_assets.config.base import Fraction, Section
from rag_assets.config.s3 import KeptPlace, S3Config, SqsConfig

PiiEntity = Literal[
    "email", "phone", "credit_card", "iban", "ip_address", "national_id", "crypto_wallet"
]


class PiiConfig(Section):
    """What becomes of personal data in a source's documents; secrets are always flagged.

    off: nothing. flag: counted in the metadata. redact: replaced before anything is stored beyond
    the raw bytes. block: a document that has any is quarantined.
    entities: what counts; all kinds when empty. region: where phone numbers without a country code
    are from (extra `pii`), such as DE.
    """

    mode: Literal["off", "flag", "redact", "block"] = "off"
    entities: list[PiiEntity] = []
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = None


def _pii_in_short(given: Any) -> Any:
    """`pii: redact` for `pii: {mode: redact}`; YAML reads a bare `off` as false."""
    if given is False:
        return {"mode": "off"}
    return {"mode": given} if isinstance(given, str) else given


def _as_date(given: Any) -> Any:
    """A date as YAML reads it, or in quotes."""
    return date.fromisoformat(given) if isinstance(given, str) else given


class SourceConfig(Section):
    """What every source has, whatever its type.

    since: documents that were last changed earlier do not count, where the source tells their time;
    an earlier date brings the older ones in as well.

    repeated_lines: lines at the edges of, and menus within, more than this share of the source's
    documents are left out of all but the first; 1 keeps everything. quarantine_guard: hold the
    refresh when more than this share of the source's documents cannot be processed. silent_hours: a
    source in which nothing changed for longer is reported. max_lag_minutes: so is one whose changes
    took longer to be live. every: seconds between two looks of the
    sensor at the source; a refresh by hand looks at once. sweep_hours: how long a source that tells
    its changes is believed before everything is listed again.
    """

    may_be_empty: ClassVar[bool] = False
    """Whether having no documents is in order: those that events bring may not have come yet."""
    paged: ClassVar[bool] = False
    """Whether it is listed in pages while others write, so that one listing may miss a document."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    category: str | None = None
    metadata: dict[str, str | int | float | bool] = {}
    acl: list[str] = ["everyone"]
    trust: Fraction = 1.0
    buckets: Annotated[int, Field(ge=1, le=256)] = 16
    delete_guard: Fraction = 0.2
    quarantine_guard: Fraction = 0.5
    pii: Annotated[PiiConfig, BeforeValidator(_pii_in_short)] = PiiConfig()
    repeated_lines: Fraction = 0.6
    silent_hours: Annotated[float, Field(gt=0)] | None = None
    max_lag_minutes: Annotated[float, Field(gt=0)] | None = None
    since: Annotated[date | None, BeforeValidator(_as_date)] = None
    every: Annotated[float, Field(ge=0)] = 0.0
    sweep_hours: Annotated[float, Field(gt=0)] = 24.0

    @property
    def partitions(self) -> list[str]:
        """The Dagster partition keys of this source, in order."""
        return [f"{self.name}:{bucket:02d}" for bucket in range(self.buckets)]


class KeptSource(SourceConfig, KeptPlace):
    """A source that keeps documents itself between scans, in `path`; STORAGE/TYPE/NAME if empty."""

    type: str


class FilesConfig(SourceConfig):
    """Files under a directory or an fsspec URL.

    s3: how an s3:// path is reached, where it is not as the knowledge base's own `s3` says.
    events: notifications of an s3:// path, instead of a listing at every look.
    """

    type: Literal["files"]
    path: str
    include: list[str] = ["**/*"]
    exclude: list[str] = []
    max_mib: Annotated[int, Field(ge=1, le=4096)] = 256  # a larger file is quarantined unread
    s3: S3Config | None = None
    events: SqsConfig | None = None


class RecordsConfig(SourceConfig):
    """One document a row of a jsonl, csv or parquet file."""

    type: Literal["records"]
    path: str
    id: str = "id"
    title: str | None = None
    text: str = "text"


class InboxConfig(KeptSource):
    """Documents pushed through the HTTP service, kept until deleted.

    A caller deletes one by one and on purpose, so the guard is off unless it is set.
    """

    may_be_empty: ClassVar[bool] = True

    type: Literal["inbox"]
    delete_guard: Fraction = 1.0


class SqlConfig(SourceConfig):
    """One document a row of a query, from any database that SQLAlchemy has a driver for.

    text, title, uri: a column, or a template such as "{subject}: {body}". updated_at: a column that
    changes with the row; without one every text is read to see what changed. overlap: seconds that
    a transaction may take to commit a row with an earlier time. metadata_columns: columns that
    become metadata.
    """

    type: Literal["sql"]
    url: Annotated[str, Field(min_length=1, repr=False)]
    query: Annotated[str, Field(min_length=1)]
    id: str = "id"
    text: str = "text"
    title: str | None = None
    uri: str | None = None
    updated_at: str | None = None
    metadata_columns: list[str] = []
    overlap: Annotated[float, Field(ge=0)] = 300.0
