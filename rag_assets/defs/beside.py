"""Assets that are made from the live version, in jobs of their own: no part of a refresh."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from rag_assets.defs.names import Names


def asset_beside(names: Names, kind: str, description: str) -> Callable[..., dg.AssetsDefinition]:
    """The decorator of such an asset; kind is its tag in the UI."""
    return dg.asset(
        key_prefix=names.prefix,
        deps=[dg.AssetKey([names.prefix, "live_index"])],
        required_resource_keys={names.pipeline},
        owners=["team:knowledge-base"],
        group_name=names.group,
        kinds={kind},
        code_version="1",
        description=description,
    )


def job_beside(asset: dg.AssetsDefinition, name: str, description: str) -> Any:
    """The job that materializes it."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(asset),
        executor_def=dg.in_process_executor,
        description=description,
    )
