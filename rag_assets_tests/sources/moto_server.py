"""S3 and SQS as moto serves them, on a loopback port."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secretexample"}


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server with nothing in it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client(service: str, url: str):
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **KEYS)


def settings(url: str) -> dict[str, str]:
    """The `s3:` section for a server."""
    return {"endpoint_url": url, "region_name": "us-east-1", **KEYS}
