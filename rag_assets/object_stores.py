"""Object stores behind s3://, gs:// and az:// addresses."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rag_assets.config import S3Config
from rag_assets.errors import StorageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_S3 = ("s3://", "s3a://")
_SCHEMES = {"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"}
# A server that does not answer shall be reported while whoever asked still waits for it.
_PATIENCE = timedelta(seconds=20)


def in_object_store(url: str) -> bool:
    """Whether an address is one that `open_store` takes."""
    scheme, found, _ = url.partition("://")
    return bool(found) and scheme.lower() in _SCHEMES


def open_store(url: str, s3: S3Config | None = None) -> "ObjectStore":
    """The store at an address; the rest of the address is a prefix of every key.

    Credentials, region and endpoint are those of `s3`, and where it says nothing those of the
    provider's usual environment variables, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.

    Raises: StorageError when the profile that `s3` names cannot be used.
    """
    from obstore.store import from_url

    settings = s3 or S3Config()
    retries: Any = {"max_retries": settings.max_attempts - 1, "retry_timeout": _PATIENCE}
    if s3 is None or not url.startswith(_S3):
        return from_url(url, retry_config=retries)
    endpoint = s3.endpoint_url
    if endpoint is None and not s3.use_ssl:
        endpoint = f"http://s3.{s3.region_name or 'us-east-1'}.amazonaws.com"
    options: dict[str, Any] = {
        "region": s3.region_name,
        "endpoint": endpoint,
        "access_key_id": s3.aws_access_key_id,
        "secret_access_key": s3.aws_secret_access_key,
        "session_token": s3.aws_session_token,
        "skip_signature": s3.use_unsigned_session or None,
        "credential_provider": _profile(s3),
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    client: Any = {}
    if (endpoint or "").startswith("http://"):
        client["allow_http"] = True
    if s3.verify is False:
        client["allow_invalid_certificates"] = True
    return from_url(url, client_options=client, retry_config=retries, **chosen)


def boto_client(service: str, s3: S3Config | None, endpoint_url: str | None = None) -> Any:
    """A boto3 client for what obstore does not do.

    endpoint_url: of another service than S3; that of `s3` goes without saying for `s3` alone.
    """
    import boto3

    found = s3 or S3Config()
    return boto3.session.Session(profile_name=found.profile_name).client(
        service,
        region_name=found.region_name,
        endpoint_url=found.endpoint_url if service == "s3" else endpoint_url,
        use_ssl=found.use_ssl,
        verify=found.verify,
        aws_access_key_id=found.aws_access_key_id,
        aws_secret_access_key=found.aws_secret_access_key,
        aws_session_token=found.aws_session_token,
    )


def _profile(s3: S3Config) -> Any:
    """What brings the credentials of a profile; None where there are others or no profile."""
    if not s3.profile_name or s3.aws_access_key_id or s3.use_unsigned_session:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(boto3.session.Session(profile_name=s3.profile_name))
    except (BotoCoreError, ValueError) as error:
        raise StorageError(
            f"s3.profile_name: {s3.profile_name!r} cannot be used ({error}); name a profile of"
            " ~/.aws/config that has credentials"
        ) from error
