"""Dagster resources: the pipeline of a knowledge base, and the IO manager of its lake."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import dagster as dg
import polars as pl
from pydantic import PrivateAttr

from rag_assets.config import KnowledgeBaseConfig, load_config
from rag_assets.lake import STAGES, Lake
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.refresh.receipt import Receipts


class PipelineResource(dg.ConfigurableResource):
    """The stages of the knowledge base in `config_path`, under its refresh lock for a whole run."""

    config_path: str

    _pipeline: Pipeline | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["PipelineResource"]:
        """Hold the refresh lock while the run (or, with several processes, the step) lasts."""
        with self.pipeline.refreshing():
            yield self

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline, opened at first use."""
        if self._pipeline is None:
            self._pipeline = Pipeline(self.settings())
        return self._pipeline

    def settings(self) -> KnowledgeBaseConfig:
        """The configuration, read anew."""
        return load_config(self.config_path)

    @property
    def receipts(self) -> Receipts:
        """Where stages record what they did."""
        return Receipts(self.pipeline.storage)


class OpenPipeline:
    """What assets need of `PipelineResource`, over a pipeline that is open and locked already."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.receipts = Receipts(pipeline.storage)


class LakeIOManager(dg.ConfigurableIOManager):
    """Frames of partitioned assets, one Parquet file a partition; many are read as one frame.

    Dagster's own managers refuse to write several partitions from one run.
    """

    storage: str

    @cached_property
    def _lake(self) -> Lake:
        return Lake.at(self.storage)

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        """Write each partition of the run; rows are split by their `partition` column."""
        stage = context.asset_key.path[-1]
        self._lake.write(stage, list(context.asset_partition_keys), obj)
        context.add_output_metadata({"dagster/row_count": obj.height})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """The rows of the run's partitions as one frame."""
        stage = context.asset_key.path[-1]
        if stage not in STAGES:
            raise TypeError(f"{context.asset_key.to_user_string()} has no frame to load")
        return self._lake.read(stage, sorted(context.asset_partition_keys))
