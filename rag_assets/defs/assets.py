"""The six assets of a knowledge base, from its sources to the live index."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg
import polars as pl
from pydantic import Field

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.defs.metadata import bars, preview, table
from rag_assets.defs.names import Names
from rag_assets.defs.resources import PipelineResource
from rag_assets.errors import GateRefused
from rag_assets.refresh import judge, report_tables
from rag_assets.refresh.candidate import account, make_candidate
from rag_assets.refresh.duplicates import text_groups
from rag_assets.refresh.pipeline import Options
from rag_assets.refresh.quarantine import accept_quarantine, quarantined
from rag_assets.refresh.settle import settle

_LAYOUT = "1"


QUARANTINE_SHOWN = ("doc_id", "reason", "message", "media_type")


class RefreshConfig(dg.Config):
    """How a run treats the sources; editable in the launchpad."""

    confirm_deletes: bool = False
    audit: bool = False
    sources: list[str] = Field(default_factory=list)
    accept_quarantine: bool = False
    insist: bool = False


def build_assets(config: KnowledgeBaseConfig, names: Names) -> list[dg.AssetsDefinition]:
    """The assets of one knowledge base; keys, resources and group carry its name."""
    partitions = dg.StaticPartitionsDefinition([p for s in config.sources for p in s.partitions])
    every = {
        "required_resource_keys": {names.pipeline},
        "owners": ["team:knowledge-base"],
        "group_name": names.group,
    }
    partitioned = {
        **every,
        "partitions_def": partitions,
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "io_manager_key": names.lake,
        "key_prefix": names.prefix,
    }

    def resource(context: dg.AssetExecutionContext) -> PipelineResource:
        return getattr(context.resources, names.pipeline)

    @dg.asset(
        **partitioned,
        code_version=_LAYOUT,
        kinds={"polars", "parquet"},
        description="What the sources hold: every listed document with its change token, content"
        " hash and attributes. Only documents whose token moved are read again.",
    )
    def raw_documents(
        context: dg.AssetExecutionContext, config: RefreshConfig
    ) -> dg.MaterializeResult[pl.DataFrame]:
        rag = resource(context)
        options = Options(
            config.confirm_deletes,
            config.audit,
            tuple(config.sources),
            config.accept_quarantine,
            config.insist,
        )
        frame, listings = rag.pipeline.raw_documents(context.partition_keys, options)
        held = {
            item.config.name: item.comparison.why_held
            for item in listings
            if item.comparison and item.comparison.why_held
        }
        errors = {item.config.name: item.error for item in listings if item.error}
        for message in (*held.values(), *errors.values()):
            context.log.warning(message)
        rag.receipts.record(context.run.run_id, "held", held)
        rag.receipts.record(context.run.run_id, "accept_quarantine", config.accept_quarantine)
        rag.receipts.record(context.run.run_id, "confirm_deletes", config.confirm_deletes)
        rag.receipts.record(context.run.run_id, "errors", errors)
        return dg.MaterializeResult(
            value=frame,
            metadata={
                "documents": frame.height,
                "unreadable": frame["problem"].is_not_null().sum(),
                "held": frame["held"].sum(),
                "bytes": frame["size"].sum() or 0,
                "preview": preview(frame, ["doc_id", "size", "modified_at", "problem"]),
                **_per_partition(context, frame),
            },
        )

    @dg.asset(
        **partitioned,
        code_version=_LAYOUT,
        kinds={"polars", "parquet"},
        description="Text with title, headings and pages. A document that cannot be parsed is"
        " quarantined with its reason and never blocks the others.",
    )
    def documents(
        context: dg.AssetExecutionContext, raw_documents: pl.DataFrame
    ) -> dg.MaterializeResult[pl.DataFrame]:
        rag = resource(context)
        done = rag.pipeline.documents(raw_documents, context.partition_keys)
        bad = done.frame.filter(pl.col("problem").is_not_null()).select("doc_id", "problem")
        return dg.MaterializeResult(
            value=done.frame,
            metadata={
                "documents": done.frame.height,
                "parsed": done.computed,
                "reused": done.kept,
                "quarantined": bad.height,
                "quarantine": table(bad.columns, bad.head(50).rows()),
                "preview": _outline(done.frame),
            },
        )

    @dg.asset(
        **partitioned,
        code_version=_LAYOUT,
        kinds={"polars", "parquet"},
        description="Passages with exact spans and heading paths, cut in tokens of the embedding"
        " model's own tokenizer. An edit changes only the chunks it touches.",
    )
    def chunks(
        context: dg.AssetExecutionContext, documents: pl.DataFrame
    ) -> dg.MaterializeResult[pl.DataFrame]:
        rag = resource(context)
        done = rag.pipeline.chunks(documents, context.partition_keys)
        tokens = done.frame["tokens"]
        return dg.MaterializeResult(
            value=done.frame,
            metadata={
                "chunks": done.frame.height,
                "documents_cut": done.computed,
                "documents_reused": done.kept,
                "tokens_mean": float(tokens.mean() or 0.0),  # type: ignore[arg-type]
                "tokens_max": int(tokens.max() or 0),  # type: ignore[arg-type]
                "preview": preview(done.frame, ["doc_id", "ordinal", "tokens", "page"]),
            },
        )

    @dg.asset(
        **partitioned,
        code_version=_LAYOUT,
        kinds={"onnx", "polars"},
        description="One vector for every distinct text, in a content-addressed store beside the"
        " lineage: a text is embedded once, whatever happens to its documents.",
    )
    def embeddings(
        context: dg.AssetExecutionContext, chunks: pl.DataFrame
    ) -> dg.MaterializeResult[pl.DataFrame]:
        rag = resource(context)
        done = rag.pipeline.embeddings(chunks)
        facts = {**asdict(done.report), "stages": dict(rag.pipeline.spent)}
        rag.receipts.record(context.run.run_id, "embeddings", facts)
        size = rag.pipeline.store.size()
        return dg.MaterializeResult(
            value=done.frame,
            metadata={
                "chunks": done.frame.height,
                **asdict(done.report),
                "model": rag.pipeline.model,
                "usd_this_month": rag.pipeline.ledger.spent(f"{datetime.now(UTC):%Y-%m}"),
                "store_vectors": size.vectors,
                "store_bytes": size.bytes,
                "token_vector_bytes": size.token_bytes,
            },
        )

    index = {**every, "kinds": {"chroma", "tantivy"}, "code_version": _LAYOUT}

    @dg.asset(
        **index,
        key_prefix=names.prefix,
        deps=[documents, chunks, embeddings],
        description="A sealed index version: the live one copied forward and patched with what"
        " changed, or rebuilt from the embedding store. When nothing changed it is the live one.",
    )
    def candidate_index(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rag = resource(context)
        started = time.perf_counter()
        settled = settle(rag.pipeline)
        rag.receipts.record(context.run.run_id, "settled", settled)
        if rag.receipts.parts(context.run.run_id).get("accept_quarantine"):
            accept_quarantine(rag.pipeline)
        candidate = make_candidate(rag.pipeline, context.run.run_id)
        manifest, delta = candidate.manifest, candidate.delta
        counts = account(rag.pipeline, manifest.version, candidate.since)
        facts = {
            "version": manifest.version,
            "built": candidate.built,
            "changed": candidate.changed,
            "parent": manifest.parent,
            "documents": manifest.documents,
            "chunks": manifest.chunks,
            "chunks_kept": delta.chunks_kept,
            "chunks_added": len(delta.chunks_added),
            "chunks_deleted": len(delta.chunks_deleted),
            "documents_cleaned_anew": settled.documents,
            "seconds": round(time.perf_counter() - started, 3),
        }
        rag.receipts.record(context.run.run_id, "candidate", facts)
        rag.receipts.record(context.run.run_id, "documents", counts)
        bad = quarantined(rag.pipeline)
        rag.receipts.record(context.run.run_id, "quarantined", bad)
        return dg.MaterializeResult(
            metadata={
                **{name: value for name, value in facts.items() if value is not None},
                "dagster/row_count": manifest.chunks,
                "model": manifest.embedding_model,
                "documents_accounted": table(list(asdict(counts)), [list(asdict(counts).values())]),
                "documents_with_duplicates": text_groups(rag.pipeline).height,
                "quarantined": len(bad),
                "quarantine": table(
                    QUARANTINE_SHOWN, [[row[n] for n in QUARANTINE_SHOWN] for row in bad[:50]]
                ),
                "path": dg.MetadataValue.path(rag.pipeline.versions.directory(manifest.version)),
            },
            data_version=dg.DataVersion(manifest.chunk_ids_digest + manifest.model[:8]),
        )

    @dg.asset(
        **index,
        key_prefix=names.prefix,
        deps=[candidate_index],
        description="How well the candidate retrieves on the eval sets, beside the live version."
        " Kept also when the gate refuses.",
    )
    def retrieval_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rag = resource(context)
        version = rag.pipeline.versions.candidate()
        report = judge.make_report(rag.pipeline, version)
        live = judge.live_summary(rag.pipeline)
        metadata: dict[str, object] = {
            "version": version,
            "metrics": table(*report_tables.metric_rows(report, live)),
            "slices": table(*report_tables.slice_rows(report)),
            "worst_queries": table(*report_tables.worst_queries(report)),
            **report_tables.headline(report),
        }
        comparison = judge.shadow(rag.pipeline, version)
        if comparison is not None:
            metadata["compared_with_version"] = comparison["version"]
            metadata["moved_queries"] = table(*report_tables.moved_rows(comparison))
        if rag.pipeline.config.evaluation.mlflow:
            from rag_assets.refresh.tracking import log_version

            metadata["mlflow_run"] = log_version(rag.pipeline, version, report, comparison)
        values, intervals = report_tables.plotted(report)
        if values:
            metadata["plot"] = bars(values, rag.pipeline.config.evaluation.gate.floors, intervals)
        return dg.MaterializeResult(metadata=metadata)

    @dg.asset(
        **index,
        key_prefix=names.prefix,
        deps=[candidate_index, retrieval_report],
        description="The version that is served. Promotion is one atomic write, and only for a"
        " version whose every required check was evaluated and passed.",
    )
    def live_index(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rag = resource(context)
        versions = rag.pipeline.versions
        version = versions.candidate()
        before = versions.pointer()
        canary = rag.pipeline.config.canary
        if canary is not None and canary.holds and before and before.version != version:
            return _waiting(rag, context.run.run_id, version)
        try:
            with versions.publishing():
                pointer = versions.promote(version, run_id=context.run.run_id)
                removed = versions.collect_garbage(rag.pipeline.config.index.keep_versions)
                rag.pipeline.collect_embeddings(datetime.now(UTC))
        except GateRefused as refusal:
            raise dg.Failure(str(refusal), allow_retries=False) from refusal
        promoted = before is None or before.version != pointer.version
        rag.receipts.record(context.run.run_id, "promoted", promoted)
        if rag.pipeline.mirror is not None:
            rag.pipeline.mirror.push()  # here, where a run fails that cannot publish
        from rag_assets.refresh.calibrating import calibrate_if_due

        learnt = calibrate_if_due(rag.pipeline, pointer.version)
        return dg.MaterializeResult(
            metadata={
                "version": pointer.version,
                "confidence": _rounded(learnt.at(rag.pipeline.config.llm.answer_share).figures)
                if learnt
                else "not calibrated",
                "promoted": promoted,
                "previous": pointer.previous if pointer.previous is not None else "none",
                "removed": ", ".join(map(str, removed)) or "none",
                "pointer": dg.MetadataValue.path(versions.root / "LIVE.json"),
            },
            data_version=dg.DataVersion(pointer.manifest),
        )

    return [
        raw_documents,
        documents,
        chunks,
        embeddings,
        candidate_index,
        retrieval_report,
        live_index,
    ]


def _waiting(rag: PipelineResource, run_id: str, version: int) -> dg.MaterializeResult:
    """The live version stays; the other one waits beside it. Raises: Failure if it is unproven."""
    versions = rag.pipeline.versions
    try:
        versions.demand_proven(version)
    except GateRefused as refusal:
        raise dg.Failure(str(refusal), allow_retries=False) from refusal
    with versions.publishing():
        versions.collect_garbage(rag.pipeline.config.index.keep_versions)
    rag.receipts.record(run_id, "promoted", False)
    rag.receipts.record(run_id, "waits", version)
    pointer = versions.live()
    return dg.MaterializeResult(
        metadata={
            "version": pointer.version,
            "promoted": False,
            "waits": f"version {version} passed and answers a share of the questions; promote it"
            f" with `rag-assets promote {version}`",
        },
        data_version=dg.DataVersion(pointer.manifest),
    )


def _rounded(figures: Mapping[str, object]) -> dict[str, object]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}


def _outline(documents: pl.DataFrame) -> dg.MetadataValue:
    """The first documents, without their words: nothing can erase those from an event log."""
    counted = documents.with_columns(characters=pl.col("text").str.len_chars())
    return preview(counted, ["doc_id", "media_type", "language", "characters", "problem"])


def _per_partition(
    context: dg.AssetExecutionContext, frame: pl.DataFrame
) -> dict[str, dg.MetadataValue]:
    """Documents in each partition, where a run covers several."""
    keys: Sequence[str] = context.partition_keys
    if len(keys) < 2:
        return {}
    counts = dict(frame.group_by("partition").len().iter_rows())
    rows = [(key, counts.get(key, 0)) for key in sorted(keys)]
    return {"partitions": table(["partition", "documents"], rows)}
