"""Access to S3, by the names that dagster-aws gives credentials and endpoint."""

from typing import Annotated, Self

from pydantic import Field, PrivateAttr

from rag_assets.config.base import Section


class S3Config(Section):
    """How S3 is reached, for sources and for storage; what is left out comes from the environment.

    The keys are those of dagster-aws' `S3Resource`. endpoint_url: of a server that is not Amazon's.
    use_unsigned_session: ask without credentials. profile_name: of ~/.aws/config, whose credentials
    are renewed as they run out. verify: whether certificates are checked. max_attempts: how often a
    request is made before it counts as failed.
    """

    region_name: str | None = None
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None = None
    aws_access_key_id: Annotated[str | None, Field(repr=False)] = None
    aws_secret_access_key: Annotated[str | None, Field(repr=False)] = None
    aws_session_token: Annotated[str | None, Field(repr=False)] = None
    use_unsigned_session: bool = False
    profile_name: str | None = None
    use_ssl: bool = True
    verify: bool | None = None
    max_attempts: Annotated[int, Field(ge=1)] = 5


class KeptPlace(Section):
    """Where something is kept between refreshes: a directory here.

    carried_to: where storage is in an object store, its address; what is kept goes there as well.
    """

    path: str = ""

    _carried_to: str = PrivateAttr(default="")
    _carried_through: S3Config | None = PrivateAttr(default=None)

    @property
    def carried_to(self) -> str:
        """The address of the storage in an object store; empty where it is a directory."""
        return self._carried_to

    @property
    def carried_through(self) -> S3Config | None:
        """How that is reached."""
        return self._carried_through

    def placed(self, path: str, carried_to: str, through: S3Config | None) -> Self:
        """The same with its directory, and carried to an address unless that is empty."""
        found = self.model_copy(update={"path": path})
        found._carried_to, found._carried_through = carried_to, through
        return found


class SqsConfig(KeptPlace):
    """An SQS queue that an S3 bucket sends its notifications to.

    path: where names are kept until a refresh has them; STORAGE/files/NAME if empty.
    """

    queue_url: Annotated[str, Field(pattern="^https?://")]
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None = None
