"""Embedding services reached through litellm: which names are theirs, what is known of a model."""

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding.atomic import write_atomically
from rag_assets.embedding.model_store import cache_directory, lists_model, local_model
from rag_assets.errors import ConfigError
from rag_assets.records import digest_of

# Providers whose prefix settles the matter without importing litellm, which takes seconds.
PROVIDERS = frozenset(
    "azure azure_ai bedrock cohere custom_openai databricks deepinfra fireworks_ai gemini"
    " github hosted_vllm huggingface infinity jina_ai litellm_proxy lm_studio mistral nebius"
    " nvidia_nim ollama openai openai_like openrouter sagemaker together_ai vertex_ai voyage"
    " watsonx xinference".split()
)
# Of services whose limit is not known; OpenAI's own.
_USUAL_LIMIT = 8191


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """What a request to a service needs to know; `usd_per_token` is None where nobody knows."""

    dimension: int
    max_tokens: int
    usd_per_token: float | None


@cache
def load_litellm() -> ModuleType:
    """litellm, imported once, with its telemetry and its look-up of a price map switched off."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_TELEMETRY", "False")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.DEFAULT_MAX_RETRIES = 0  # its embedding calls take max_retries=0 for "the default"
    return litellm


@cache
def is_service(model: str) -> bool:
    """Whether a model's name begins with one of litellm's providers and is no local model."""
    provider, slash, _ = model.partition("/")
    if not slash or local_model(model) is not None:
        return False
    if provider in PROVIDERS:
        return True
    if lists_model(model):  # some providers share their name with an organisation on the hub
        return False
    names = {getattr(name, "value", name) for name in load_litellm().provider_list}
    return provider in names


def service_model(config: EmbeddingConfig) -> ServiceModel:
    """Dimension, limit and price: from the configuration, litellm's table, or (dimension) a call.

    A dimension that had to be asked for is remembered in the model cache.
    Raises: ConfigError when the service's key is not set.
    """
    memo = cache_directory() / "services" / digest_of(*_identity(config), config.api_base or "")
    if config.dimensions is None and memo.is_file():
        return _priced(ServiceModel(**json.loads(memo.read_text())), config)
    _check_key(config)
    table = load_litellm().model_cost
    known = table.get(config.model) or table.get(config.model.partition("/")[2]) or {}
    found = ServiceModel(
        dimension=config.dimensions or known.get("output_vector_size") or _probed(config),
        max_tokens=int(known.get("max_input_tokens") or _USUAL_LIMIT),
        usd_per_token=known.get("input_cost_per_token"),
    )
    write_atomically(Path(memo), [json.dumps(asdict(found)).encode()])
    return _priced(found, config)


def _priced(model: ServiceModel, config: EmbeddingConfig) -> ServiceModel:
    if config.usd_per_million_tokens is None:
        return model
    return ServiceModel(model.dimension, model.max_tokens, config.usd_per_million_tokens / 1e6)


def service_fingerprint(config: EmbeddingConfig) -> str:
    """Names the vector space of a service's model; where it is reached is no part of it."""
    return digest_of("service", *_identity(config))


def _identity(config: EmbeddingConfig) -> tuple[str, str]:
    return config.model, str(config.dimensions or "")


def _check_key(config: EmbeddingConfig) -> None:
    if config.api_key is not None:
        return
    checked = load_litellm().validate_environment(config.model)
    if checked["missing_keys"]:
        raise ConfigError(
            f"embedding.model {config.model!r}: the environment variable"
            f" {checked['missing_keys'][0]} is not set; set it, or embedding.api_key."
        )


def _probed(config: EmbeddingConfig) -> int:
    from rag_assets.embedding.remote import Service

    return len(Service(config).vectors(["dimension"]).vectors[0])
