"""Definitions of one or several knowledge bases, ready to load or to merge."""

import os
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from rag_assets.config import KnowledgeBaseConfig, find_config, load_config
from rag_assets.defs.alerts import NotifyResource, build_alerts
from rag_assets.defs.answer_evaluation import build_answer_evaluation
from rag_assets.defs.assets import build_assets
from rag_assets.defs.automation import build_job, build_schedule, build_sensor
from rag_assets.defs.checks import build_checks
from rag_assets.defs.instruct_dataset import build_instruct_dataset
from rag_assets.defs.names import Names
from rag_assets.defs.resources import LakeIOManager, PipelineResource
from rag_assets.defs.upkeep import build_upkeep
from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource


def build_definitions(
    *paths: str | os.PathLike[str], s3: "S3Resource | None" = None
) -> dg.Definitions:
    """Definitions of the knowledge bases in these files; with none, of those in $RAG_CONFIG.

    Merge them into an existing project: `dg.Definitions.merge(mine, build_definitions("kb.yaml"))`.
    s3: how storage and sources in S3 are reached, in place of the `s3` section of the files.

    Raises: ConfigError when a file is wrong or two knowledge bases have one name.
    """
    configs = [load_config(path) for path in paths or config_paths()]
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the knowledge base names {twice} are used by more than one file")
    return dg.Definitions.merge(*(_definitions(config, s3) for config in configs))


def config_paths() -> list[Path]:
    """The files that $RAG_CONFIG names: one, several with `:` between, or all in a directory."""
    given = os.environ.get("RAG_CONFIG", "")
    parts = [Path(part) for part in given.split(os.pathsep) if part]
    if not parts:
        return [find_config()]
    files: list[Path] = []
    for part in parts:
        files += sorted(part.glob("*.yaml")) if part.is_dir() else [part]
    if not files:
        raise ConfigError(f"RAG_CONFIG={given}: no .yaml file there")
    return files


def _definitions(config: KnowledgeBaseConfig, s3: "S3Resource | None") -> dg.Definitions:
    names = Names(config.name)
    job = build_job(names)
    path = str(config.path)
    pipeline, settings = PipelineResource(config_path=path), partial(load_config, path)
    if s3 is not None:
        from rag_assets.defs.s3 import S3PipelineResource, settings_through

        pipeline = S3PipelineResource(config_path=path, s3=s3)
        settings = partial(settings_through, path, s3)
    upkeep, upkeep_schedule = build_upkeep(settings, names)
    with warnings.catch_warnings():
        # BackfillPolicy.single_run, by which one run covers many partitions, is marked beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = build_assets(config, names)
    answer_evaluation, answers_job = build_answer_evaluation(names)
    instruct_dataset, dataset_job = build_instruct_dataset(names)
    return dg.Definitions(
        assets=[*assets, answer_evaluation, instruct_dataset],
        asset_checks=build_checks(names),
        jobs=[job, answers_job, dataset_job, upkeep],
        sensors=[build_sensor(settings, names, job), *build_alerts(config, names)],
        schedules=[build_schedule(config, names, job), upkeep_schedule],
        resources={
            names.pipeline: pipeline,
            names.notify: NotifyResource(config_path=path),
            names.lake: LakeIOManager(storage=config.storage),
        },
    )
