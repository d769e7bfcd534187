"""An Azure Blob server for tests, where its emulator is installed."""

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate

ACCOUNT = "devstoreaccount1"
# The key that every such emulator has, as its documentation gives it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
WHY_NOT = "Azure's emulator is not installed: npm install -g azurite"
_VERSION = "2021-08-06"


def available() -> bool:
    """Whether a server can be started."""
    return shutil.which("azurite-blob") is not None


@contextmanager
def serving(container: str) -> Iterator[dict[str, str]]:
    """A fresh server with an empty container; the environment that leads to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    command = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _make(endpoint, container)
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": endpoint,
            "AZURE_ALLOW_HTTP": "true",
        }
    finally:
        process.terminate()
        process.wait()


def _make(endpoint: str, container: str) -> None:
    """Make a container, which no reader of blobs can."""
    date = formatdate(usegmt=True)
    told = f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    place = f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    signed = hmac.new(
        base64.b64decode(KEY), ("PUT" + "\n" * 12 + told + place).encode(), hashlib.sha256
    )
    request = urllib.request.Request(
        f"{endpoint}/{container}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signed.digest()).decode()}",
        },
    )
    with urllib.request.urlopen(request):
        pass
