"""From `embedding:` in knowledge_base.yaml to an encoder, one per process and configuration."""

import threading
from typing import TYPE_CHECKING

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store, services
from rag_assets.embedding.base import Encoder
from rag_assets.embedding.reference_tokenizer import reference_tokenizer
from rag_assets.embedding.tokenising import load_tokenizer
from rag_assets.embedding.tokens import TokenForm

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_opened: dict[EmbeddingConfig, Encoder] = {}
_opening = threading.Lock()


def open_encoder(config: EmbeddingConfig) -> Encoder:
    """The encoder of this configuration; the same object for the same configuration.

    Raises: ModelNotFound; ConfigError when the device cannot be had or a service's key is not set.
    """
    with _opening:
        if config not in _opened:
            _opened[config] = _encoder(config)
        return _opened[config]


def _encoder(config: EmbeddingConfig) -> Encoder:
    if services.is_service(config.model):
        from rag_assets.embedding.remote import RemoteEncoder

        return RemoteEncoder(config)
    from rag_assets.embedding.onnx_encoder import OnnxEncoder

    return OnnxEncoder(config)


def open_tokenizer(config: EmbeddingConfig) -> "Tokenizer":
    """The model's own tokenizer, without padding and truncation; loads no inference engine.

    For a service's model it is OpenAI's cl100k, whatever the service.
    """
    if services.is_service(config.model):
        return reference_tokenizer()
    return load_tokenizer(model_store.find_model(config.model))


def token_form(config: EmbeddingConfig) -> TokenForm | None:
    """How this model's token vectors are kept; None for a service, which does not give any."""
    if services.is_service(config.model):
        return None
    return TokenForm(model_store.find_model(config.model))


def model_fingerprint(config: EmbeddingConfig) -> str:
    """What `open_encoder(config).fingerprint` would be, without opening a session."""
    if services.is_service(config.model):
        return services.service_fingerprint(config)
    return model_store.fingerprint(model_store.find_model(config.model), config.precision)


def model_facts(config: EmbeddingConfig) -> tuple[int, int]:
    """(dimension, max_tokens) of the model, without opening a session."""
    if services.is_service(config.model):
        model = services.service_model(config)
        return model.dimension, model.max_tokens
    files = model_store.find_model(config.model)
    return files.dimension, files.max_tokens


def price_per_token(config: EmbeddingConfig) -> float | None:
    """US dollars; 0 for a local model, None for a service whose price is not known."""
    if not services.is_service(config.model):
        return 0.0
    return services.service_model(config).usd_per_token
