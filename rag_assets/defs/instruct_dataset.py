"""The asset that exports accepted answers with their passages, for fine-tuning."""

from typing import Any

import dagster as dg

from rag_assets.defs.beside import asset_beside, job_beside
from rag_assets.defs.metadata import table
from rag_assets.defs.names import Names
from rag_assets.defs.resources import PipelineResource
from rag_assets.training.dataset import Dataset, directory_of, make_dataset, read_dataset


def build_instruct_dataset(names: Names) -> tuple[dg.AssetsDefinition, Any]:
    """The asset and the job that materializes it.

    It is not part of a refresh: what is trained on is decided by people, and not in a hurry.
    """

    @asset_beside(
        names,
        "parquet",
        "Accepted questions and answers with the passages they rest on, as chat"
        " messages with their lineage: Parquet and JSONL, split by document. Only what is new or"
        " changed is made.",
    )
    def instruct_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rag: PipelineResource = getattr(context.resources, names.pipeline)
        made = make_dataset(rag.pipeline)
        rows = read_dataset(directory_of(rag.pipeline)).head(5).to_dicts()
        return dg.MaterializeResult(metadata=_metadata(made, rows))

    return instruct_dataset, job_beside(
        instruct_dataset, names.dataset_job, "Export accepted answers for fine-tuning."
    )


def _metadata(made: Dataset, rows: list[dict[str, Any]]) -> dict[str, object]:
    sides = [[side, made.examples[side], made.documents[side]] for side in made.examples]
    # Without their words: nothing can erase those from an event log.
    shown = [
        [
            row["split"],
            row["origin_id"],
            len(row["answer"]),
            len(row["passages"]),
            ", ".join(row["licences"]),
            row["pii"],
        ]
        for row in rows
    ]
    return {
        "dagster/row_count": sum(made.examples.values()),
        "index_version": made.index_version,
        "directory": dg.MetadataValue.path(made.directory),
        "examples": table(["side", "examples", "documents"], sides),
        "made_now": made.made,
        "taken_over": made.kept,
        "with_personal_data": made.with_pii,
        "licences": table(["licence", "examples"], list(made.licences.items())),
        "left_out": table(["reason", "pairs"], list(made.left_out.items())),
        "first": table(
            ["side", "from", "characters", "passages", "licences", "personal data"], shown
        ),
    }
