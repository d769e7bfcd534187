"""Object stores behind s3://, gs:// and az:// addresses."""

from typing import TYPE_CHECKING, Any

from rag_assets.config import S3Config

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_S3 = ("s3://", "s3a://")


def open_store(url: str, s3: S3Config | None = None) -> "ObjectStore":
    """The store at an address; the rest of the address is a prefix of every key.

    Credentials, region and endpoint are those of `s3`, and where it says nothing those of the
    provider's usual environment variables, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
    """
    from obstore.store import from_url

    if s3 is None or not url.startswith(_S3):
        return from_url(url)
    options: dict[str, Any] = {
        "region": s3.region_name,
        "endpoint": s3.endpoint_url,
        "access_key_id": s3.aws_access_key_id,
        "secret_access_key": s3.aws_secret_access_key,
        "session_token": s3.aws_session_token,
        "skip_signature": s3.use_unsigned_session or None,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    if (s3.endpoint_url or "").startswith("http://"):
        chosen["client_options"] = {"allow_http": True}
    return from_url(url, **chosen)
