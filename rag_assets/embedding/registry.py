"""From `embedding:` in knowledge_base.yaml to an encoder, one per process and configuration."""

import threading
from typing import TYPE_CHECKING

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store
from rag_assets.embedding.base import Encoder
from rag_assets.embedding.tokenising import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_opened: dict[EmbeddingConfig, Encoder] = {}
_opening = threading.Lock()


def open_encoder(config: EmbeddingConfig) -> Encoder:
    """The encoder of this configuration; the same object for the same configuration.

    Raises: ModelNotFound, ConfigError when the device cannot be had.
    """
    with _opening:
        if config not in _opened:
            from rag_assets.embedding.onnx_encoder import OnnxEncoder

            _opened[config] = OnnxEncoder(config)
        return _opened[config]


def open_tokenizer(config: EmbeddingConfig) -> "Tokenizer":
    """The model's own tokenizer, without padding and truncation; loads no inference engine."""
    return load_tokenizer(model_store.find_model(config.model))


def model_fingerprint(config: EmbeddingConfig) -> str:
    """What `open_encoder(config).fingerprint` would be, without opening a session."""
    return model_store.fingerprint(model_store.find_model(config.model), config.precision)


def model_facts(config: EmbeddingConfig) -> tuple[int, int]:
    """(dimension, max_tokens) of the model, without opening a session."""
    files = model_store.find_model(config.model)
    return files.dimension, files.max_tokens
