"""The command line. `main` is the entry point of `rag-assets`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it still loads is no mistake of the program's either."""
    try:
        from rag_assets.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


__all__ = ["main"]
