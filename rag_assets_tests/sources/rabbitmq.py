"""A RabbitMQ server for tests, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
WHY_NOT = "RabbitMQ is not installed: apt-get install rabbitmq-server"


def available() -> bool:
    """Whether a server can be started."""
    return _SERVER.exists() and shutil.which("erl") is not None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A fresh server that listens on loopback ports only; its address."""
    port, epmd, dist = (_free_port() for _ in range(3))
    folder.mkdir(exist_ok=True)
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # so that it can be told to end
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": f"rag{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
        "RABBITMQ_CTL_ERL_ARGS": loopback,
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [str(_SERVER)], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    try:
        _wait(url, process, folder)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        # Erlang's name server leaves the group of its parent; it is ours by its port.
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], check=False, capture_output=True)


def _wait(url: str, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    import pika

    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            pika.BlockingConnection(pika.URLParameters(url)).close()
        except (pika.exceptions.AMQPError, OSError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"RabbitMQ did not start: {(folder / 'out').read_text()[-2000:]}")
