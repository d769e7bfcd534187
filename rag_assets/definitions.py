"""The Dagster code location: `dagster dev -m rag_assets.definitions`."""

import dagster as dg

from rag_assets.defs.build import build_definitions

__all__ = ["build_definitions", "defs"]


@dg.definitions
def defs() -> dg.Definitions:
    """The knowledge bases in $RAG_CONFIG, or ./knowledge_base.yaml.

    A function, so that importing `build_definitions` in another project needs no file. Everything
    runs in one process: six short steps would each pay three seconds of imports otherwise.
    """
    return dg.Definitions.merge(
        build_definitions(), dg.Definitions(executor=dg.in_process_executor)
    )
