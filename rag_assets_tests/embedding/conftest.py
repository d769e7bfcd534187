"""Encoders of the real model, opened once; texts that are hard on a tokenizer."""

import importlib.util

import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import open_encoder
from rag_assets.embedding.base import Encoder

collect_ignore = [] if importlib.util.find_spec("ray") else ["test_ray_engine.py"]

HARD_TEXTS = [
    "",
    " ",
    "a",
    "Leave requests are approved by the team lead within two working days.",
    "休暇の申請は二週間前までに上司へ提出してください。",
    "👩‍👩‍👧‍👦 party 🎉🎉",
    "<|endoftext|> [CLS] [SEP] [MASK] </s>",
    "naïve café Übergröße \u200b\u00ad zero width",
    "x" * 5000,
    "The cooling loop is flushed every spring. " * 240,  # 10,080 characters
    "line\nbreaks\r\nand\ttabs\0and a NUL",
]


@pytest.fixture(scope="session")
def fp32() -> Encoder:
    return open_encoder(EmbeddingConfig(precision="fp32", device="cpu"))


@pytest.fixture(scope="session")
def int8() -> Encoder:
    return open_encoder(EmbeddingConfig(precision="int8", device="cpu"))
