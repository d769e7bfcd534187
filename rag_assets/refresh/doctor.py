"""What could keep a knowledge base from working, each with its fix."""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.config.credentials import ADVICE
from rag_assets.errors import RagError
from rag_assets.refresh.judge import is_judged
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets.sources.dead_letters import dead_letters
from rag_assets.sources.removed import removed_folders

_LOW_SPACE = 1 << 30


def examine(config: KnowledgeBaseConfig) -> list[dict[str, Any]]:
    """One finding a check: name, ok, summary with the fix where something is wrong."""
    pipeline = Pipeline(config)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("storage", lambda: _storage(Path(config.storage))),
        *([("bucket", pipeline.mirror.examine)] if pipeline.mirror else []),
        ("credentials", lambda: _credentials(config)),
        *([("removed sources", lambda: _removed(config))] if removed_folders(config) else []),
        ("embedding model", lambda: _model(pipeline)),
        ("inference engine", lambda: _engine(pipeline)),
        ("language model", lambda: _language_model(config)),
        ("live index", lambda: _live(pipeline)),
        *(
            (f"source {source.name}", lambda name=source.name: examine_source(pipeline, name))
            for source in config.sources
        ),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append({"name": name, "ok": True, "summary": check()})
        except (RagError, OSError) as error:
            findings.append({"name": name, "ok": False, "summary": str(error)})
    return findings


def _storage(root: Path) -> str:
    root.mkdir(parents=True, exist_ok=True)
    probe = root / ".doctor"
    probe.write_bytes(b"ok")
    probe.unlink()
    free = shutil.disk_usage(root).free
    if free < _LOW_SPACE:
        raise RagError(f"{root}: only {free >> 20} MiB free; a refresh copies the live index")
    return f"{root} is writable, {free >> 30} GiB free"


def _credentials(config: KnowledgeBaseConfig) -> str:
    if config.literal_credentials:
        keys = ", ".join(config.literal_credentials)
        raise RagError(f"{config.path} holds credentials itself at {keys}; {ADVICE}")
    return "none in the configuration file"


def _removed(config: KnowledgeBaseConfig) -> str:
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in removed_folders(config))
    days = config.upkeep.removed_sources
    return (
        f"{names}: documents kept of sources that the configuration does not name; name them again"
        f" to have them back, upkeep removes them {days} days after it missed them"
    )


def _model(pipeline: Pipeline) -> str:
    dimension, tokens = pipeline.dimension, pipeline.max_tokens
    name = pipeline.config.embedding.model
    return f"{name}: {dimension} dimensions, {tokens} tokens, fingerprint {pipeline.model}"


def _engine(pipeline: Pipeline) -> str:
    installed = {name: _version(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    plain = installed["onnxruntime"]
    if installed["onnxruntime-gpu"] and plain and "gpu" not in plain:
        raise RagError(
            "onnxruntime and onnxruntime-gpu are both installed and own the same folder; run pip"
            " uninstall onnxruntime, then install onnxruntime-gpu again with --force-reinstall"
        )
    return f"runs on {pipeline.encoder().provider}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _language_model(config: KnowledgeBaseConfig) -> str:
    model = config.llm.model
    if model == "extractive":
        return "extractive: built in, offline, no key needed"
    wanted = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
    key = wanted.get(model.partition("/")[0])
    if key and not config.llm.api_key and not config.llm.api_base and not os.environ.get(key):
        raise RagError(f"{model}: {key} is not set; export it or set llm.api_key: ${{{key}}}")
    where = f" at {config.llm.api_base}" if config.llm.api_base else ""
    return f"{model}{where}"


def _live(pipeline: Pipeline) -> str:
    live = pipeline.versions.live()
    manifest = pipeline.versions.manifest(live.version)
    if pipeline.config.evaluation.eval_sets and not is_judged(pipeline, live.version):
        raise RagError(
            f"version {live.version} is served, but was not judged with the retrieval settings,"
            " eval sets and software of now; run `rag-assets refresh` to judge it"
        )
    return f"version {live.version}: {manifest.documents} documents, {manifest.chunks} chunks"


def examine_source(pipeline: Pipeline, name: str) -> str:
    """How many documents a source lists. It is asked even if it was left alone after failures.

    Raises: RagError saying what keeps it from being read, or that it should list something.
    """
    [found] = pipeline.list_sources(Options(sources=(name,), insist=True))
    if found.error:
        raise RagError(found.error)
    if not found.listing.is_empty():
        return f"{found.listing.height} documents" + _buried(pipeline.config, name)
    if found.config.may_be_empty:
        return "no documents yet" + _buried(pipeline.config, name)
    raise RagError(
        f"source {name!r} lists no documents; check its address and what it includes and excludes"
    )


def _buried(config: KnowledgeBaseConfig, name: str) -> str:
    """What a source could not take in, where there is any."""
    count = sum(source == name for source, _ in dead_letters(config))
    return f", {count} dead letters: see `rag-assets dead-letters`" if count else ""
