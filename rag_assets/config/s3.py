"""Access to S3: credentials and endpoint, by the names that dagster-aws gives them."""

from typing import Annotated

from pydantic import Field

from rag_assets.config.base import Section


class SqsConfig(Section):
    """An SQS queue that an S3 bucket sends its notifications to.

    path: where names are kept until a refresh has them; STORAGE/files/NAME if empty.
    """

    queue_url: Annotated[str, Field(pattern="^https?://")]
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None = None
    path: str = ""


class S3Config(Section):
    """How S3 is reached, for sources and for storage; what is left out comes from the environment.

    endpoint_url: of a server that is not Amazon's. use_unsigned_session: ask without credentials.
    """

    region_name: str | None = None
    endpoint_url: Annotated[str, Field(pattern="^https?://")] | None = None
    aws_access_key_id: Annotated[str | None, Field(repr=False)] = None
    aws_secret_access_key: Annotated[str | None, Field(repr=False)] = None
    aws_session_token: Annotated[str | None, Field(repr=False)] = None
    use_unsigned_session: bool = False
