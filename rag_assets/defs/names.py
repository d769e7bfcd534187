"""The Dagster names of a knowledge base. Hyphens are not allowed in them; underscores are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Names derived from a knowledge base's own."""

    knowledge_base: str

    @property
    def identifier(self) -> str:
        """The name as a Python identifier."""
        return self.knowledge_base.replace("-", "_")

    @property
    def prefix(self) -> str:
        """First part of every asset key."""
        return self.knowledge_base

    @property
    def group(self) -> str:
        """The asset group."""
        return self.identifier

    @property
    def pipeline(self) -> str:
        """Key of the pipeline resource."""
        return f"{self.identifier}_pipeline"

    @property
    def lake(self) -> str:
        """Key of the IO manager."""
        return f"{self.identifier}_lake"

    @property
    def notify(self) -> str:
        """Key of the resource that tells people."""
        return f"{self.identifier}_notify"

    @property
    def job(self) -> str:
        """The refresh job."""
        return f"{self.identifier}_refresh"

    @property
    def answers_job(self) -> str:
        """The job that measures answers."""
        return f"{self.identifier}_answer_evaluation"

    @property
    def dataset_job(self) -> str:
        """The job that exports accepted answers."""
        return f"{self.identifier}_instruct_dataset"

    @property
    def sensor(self) -> str:
        """The sensor on source changes."""
        return f"{self.identifier}_source_changes"

    @property
    def schedule(self) -> str:
        """The safety sweep."""
        return f"{self.identifier}_safety_sweep"
