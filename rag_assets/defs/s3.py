"""dagster-aws' `S3Resource` as a knowledge base's way to S3.

Imported only where one is given: boto3 takes a while to load.
"""

from dagster_aws.s3 import S3Resource

from rag_assets.config import KnowledgeBaseConfig, S3Config, load_config
from rag_assets.defs.resources import PipelineResource


class S3PipelineResource(PipelineResource):
    """The pipeline of a knowledge base whose storage and sources are reached through `s3`."""

    s3: S3Resource

    def settings(self) -> KnowledgeBaseConfig:
        """The configuration, with what the resource says in place of its `s3` section."""
        return load_config(self.config_path, _section(self.s3))


def settings_through(path: str, s3: S3Resource) -> KnowledgeBaseConfig:
    """The same outside of a run, such as in a sensor: `EnvVar`s are read now."""
    return load_config(path, _section(s3.process_config_and_initialize()))


def _section(s3: S3Resource) -> S3Config:
    return S3Config(**{name: getattr(s3, name) for name in S3Config.model_fields})
