"""Commands for those who run it: metrics, exporter."""

from pathlib import Path
from typing import Annotated

import typer

from rag_assets.cli.app import ConfigOption, DebugOption, command, say
from rag_assets.config import load_config
from rag_assets.errors import ConfigError

AlsoOption = Annotated[
    list[Path] | None,
    typer.Option("--also", help="Another knowledge_base.yaml to tell about; repeatable."),
]


@command("metrics")
def metrics(
    also: AlsoOption = None, config: ConfigOption = None, debug: DebugOption = False
) -> None:
    """Print the pipeline's metrics in Prometheus' text format."""
    configs = [load_config(config), *map(load_config, also or ())]
    try:
        from rag_assets.operations.metrics import exposition
    except ImportError as error:
        raise _not_installed(error) from error
    say(exposition(configs).decode().rstrip())


@command("exporter")
def exporter(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 9464,
    also: AlsoOption = None,
    config: ConfigOption = None,
    debug: DebugOption = False,
) -> None:
    """Serve the pipeline's metrics to Prometheus at /metrics, from what lies on disk."""
    configs = [load_config(config), *map(load_config, also or ())]
    try:
        from rag_assets.operations.exporter import Exporter
    except ImportError as error:
        raise _not_installed(error) from error
    server = Exporter(configs, host, port)
    print(f"Exporting {', '.join(c.name for c in configs)} at {server.url}/metrics", flush=True)
    server.run()


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(
        f"this command needs {error.name}; install it with pip install 'rag-assets[serve]'"
    )
