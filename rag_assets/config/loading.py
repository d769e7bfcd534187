"""Reading knowledge_base.yaml, with every mistake reported at once."""

import hashlib
import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag_assets.config.credentials import ADVICE, literal_credentials
from rag_assets.config.knowledge_base import KnowledgeBaseConfig
from rag_assets.config.retrieval import CrossEncoderRerank
from rag_assets.config.s3 import S3Config
from rag_assets.config.sources import FilesConfig, KeptSource, RecordsConfig, SourceConfig
from rag_assets.config.wording import in_words
from rag_assets.config.yaml_files import read_yaml
from rag_assets.errors import ConfigError

_log = logging.getLogger(__name__)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_LIKE_A_VARIABLE = re.compile(r"\$\{[^}]*\}")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def find_config(path: str | os.PathLike[str] | None = None) -> Path:
    """The configuration file: `path`, else $RAG_CONFIG, else ./knowledge_base.yaml."""
    chosen = Path(path or os.environ.get("RAG_CONFIG") or "knowledge_base.yaml").expanduser()
    if chosen.is_dir():
        chosen = chosen / "knowledge_base.yaml"
    if path is None and os.pathsep in str(chosen) and not chosen.exists():
        raise ConfigError(
            f"RAG_CONFIG names several files ({chosen}), which is for Dagster; say which one with"
            " --config"
        )
    if not chosen.is_file():
        raise ConfigError(
            f"{chosen}: no such file. Name one with --config or RAG_CONFIG, or make one with"
            " `rag-assets init DIR`."
        )
    return chosen.resolve()


def load_config(
    path: str | os.PathLike[str] | None = None, s3: S3Config | None = None
) -> KnowledgeBaseConfig:
    """Read, expand and check a knowledge_base.yaml.

    s3: how S3 is reached, in place of the file's own `s3` section.

    Raises: ConfigError with one line for every mistake: file, key, what was expected.
    """
    file = find_config(path)
    data = read_yaml(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping with the keys name, sources, …")
    problems: list[str] = []
    written, data = data, _expand(data, (), problems)
    config = None
    try:
        config = KnowledgeBaseConfig.model_validate(data)
    except ValidationError as error:
        problems += [in_words(item) for item in error.errors()]
    if config is not None:
        config = config.model_copy(update={"s3": s3 or config.s3})
        config = _with_absolute_paths(config, file.parent, problems)
    if problems or config is None:
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    config._path = file
    config._literal_credentials = tuple(literal_credentials(config, written))
    for key in config.literal_credentials:
        _tell_once(file, key)
    return config


@lru_cache(maxsize=256)
def _tell_once(file: Path, key: str) -> None:
    """A sensor reads the file at every tick; once a process is enough."""
    _log.warning("%s: %s: a credential in the file itself; %s", file, key, ADVICE)


def _expand(value: Any, where: tuple[str, ...], problems: list[str]) -> Any:
    """`value` with ${NAME} and ${NAME:-default} replaced in every string."""
    if isinstance(value, dict):
        return {key: _expand(item, (*where, str(key)), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*where, str(i)), problems) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in os.environ:
            return os.environ[name]
        if default is None:
            problems.append(f"{'.'.join(where)}: the environment variable {name} is not set")
            return ""
        return default

    problems += [
        f"{'.'.join(where)}: {like!r} names no environment variable; expected ${{NAME}} or"
        " ${NAME:-default}"
        for like in _LIKE_A_VARIABLE.findall(_VARIABLE.sub("", value))
    ]
    return _VARIABLE.sub(found, value)


def _with_absolute_paths(
    config: KnowledgeBaseConfig, base: Path, problems: list[str]
) -> KnowledgeBaseConfig:
    """The configuration with paths resolved against `base`; dangling ones go to `problems`."""

    def resolved(path: str) -> str:
        if _URL.match(path):
            return path
        return os.path.normpath(base / Path(path).expanduser())

    remote = config.storage if _URL.match(config.storage) else ""
    working = resolved(config.working_directory) if config.working_directory else _cache(remote)
    storage = working if remote else resolved(config.storage)

    def existing(path: str, key: str, kind: str) -> str:
        full = resolved(path)
        if not _URL.match(full):
            there = Path(full).is_dir() if kind == "directory" else Path(full).exists()
            if not there and Path(full).is_file():
                problems.append(f"{key}: expected a directory, found a file: {full}")
            elif not there:
                problems.append(f"{key}: no such {kind}: {full}")
        return full

    def own(source: KeptSource, key: str) -> str:
        """Made when first written to, so it need not exist."""
        full = resolved(source.path or f"{storage}/{source.type}/{source.name}")
        if _URL.match(full):
            problems.append(f"{key}: expected a local directory to keep documents in: {full}")
        return full

    def located(source: SourceConfig, key: str) -> SourceConfig:
        if isinstance(source, KeptSource):
            return source.placed(own(source, key), remote, config.s3)
        if isinstance(source, FilesConfig | RecordsConfig):
            kind = "directory" if isinstance(source, FilesConfig) else "file"
            return source.model_copy(update={"path": existing(source.path, key, kind)})
        return source

    def reached(source: SourceConfig) -> SourceConfig:
        """With the knowledge base's own way to S3, where the source has none."""
        if isinstance(source, FilesConfig) and source.s3 is None:
            return source.model_copy(update={"s3": config.s3})
        return source

    def told(source: SourceConfig, key: str) -> SourceConfig:
        """With a place to keep the names that notifications bring."""
        if not isinstance(source, FilesConfig) or source.events is None:
            return source
        if not source.path.startswith("s3://"):
            problems.append(f"{key}: notifications are of an s3:// path, found {source.path}")
        base = resolved(source.events.path or f"{storage}/files/{source.name}")
        if _URL.match(base):
            problems.append(f"{key}.path: expected a local directory to keep names in: {base}")
        events = source.events.placed(base, remote, config.s3)
        return source.model_copy(update={"events": events})

    sources = [located(source, f"sources.{i}.path") for i, source in enumerate(config.sources)]
    sources = [told(reached(source), f"sources.{i}.events") for i, source in enumerate(sources)]
    sets = [
        entry.model_copy(update={"path": existing(entry.path, f"evaluation.sets.{i}", "file")})
        for i, entry in enumerate(config.evaluation.eval_sets)
    ]
    for i, entry in enumerate(sets):
        if entry.path in [other.path for other in sets[:i]]:
            problems.append(f"evaluation.sets.{i}: {entry.path} is named twice; name it once")
    rerank = config.retrieval.rerank
    if isinstance(rerank, CrossEncoderRerank) and Path(resolved(rerank.model)).is_dir():
        rerank = rerank.model_copy(update={"model": resolved(rerank.model)})
    prompts = config.llm.prompts and existing(config.llm.prompts, "llm.prompts", "directory")
    located_config = config.model_copy(
        update={
            "storage": storage,
            "retrieval": config.retrieval.model_copy(update={"rerank": rerank}),
            "llm": config.llm.model_copy(update={"prompts": prompts}),
            "sources": sources,
            "evaluation": config.evaluation.model_copy(update={"sets": sets}),
        }
    )
    located_config._remote = remote
    return located_config


def _cache(url: str) -> str:
    """Where a storage in an object store is worked on, when nothing else is said."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "rag_assets", hashlib.sha256(url.encode()).hexdigest()[:16])
