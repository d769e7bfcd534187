"""A local cross-encoder: reads the question and a passage together, through fastembed."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_assets.errors import ModelNotFound
from rag_assets.index.base import OpenVersion
from rag_assets.retrieval.question import Question
from rag_assets.retrieval.rerank.base import Reranked

if TYPE_CHECKING:
    from fastembed.rerank.cross_encoder import TextCrossEncoder

_FILES = ("model.onnx", "tokenizer.json", "tokenizer_config.json")
_BATCH = 16


class CrossEncoderReranker:
    """The model is opened by the first question, once, and shared by threads.

    model: a folder with model.onnx (or onnx/model.onnx) and its tokenizer, or a name of fastembed's
    list, which it fetches when its cache lacks it.
    """

    def __init__(self, model: str, depth: int) -> None:
        self.model = model
        self.depth = depth
        self._opening = threading.Lock()

    def rerank(
        self, version: OpenVersion, question: Question, chunk_ids: Sequence[str]
    ) -> Reranked:
        """What the model says of each passage. Raises: ModelNotFound."""
        texts = [passage.text for passage in version.passages(chunk_ids)]
        with self._opening:
            encoder = self._encoder
        scores = encoder.rerank(question.text, texts, batch_size=_BATCH)
        return Reranked(np.array(list(scores), np.float64))

    @cached_property
    def _encoder(self) -> "TextCrossEncoder":
        folder = Path(self.model)
        try:
            return self._local(folder) if folder.is_dir() else self._listed()
        except ModelNotFound:
            raise
        except Exception as error:
            raise ModelNotFound(
                f"retrieval.rerank.model {self.model}: cannot be opened"
                f" ({' '.join(str(error).split())[:200]}); name a folder with {', '.join(_FILES)}"
            ) from error

    def _local(self, folder: Path) -> "TextCrossEncoder":
        from fastembed.common.model_description import ModelSource
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        graph = "model.onnx" if (folder / "model.onnx").is_file() else "onnx/model.onnx"
        lacking = [name for name in (graph, *_FILES[1:]) if not (folder / name).is_file()]
        if lacking:
            raise ModelNotFound(
                f"retrieval.rerank.model {folder}: holds no {' and no '.join(lacking)}"
            )
        name = str(folder.resolve())
        known = {entry["model"].lower() for entry in TextCrossEncoder.list_supported_models()}
        if name.lower() not in known:
            source = ModelSource(url=f"file://{name}")
            TextCrossEncoder.add_custom_model(model=name, sources=source, model_file=graph)
        return TextCrossEncoder(name, specific_model_path=name)

    def _listed(self) -> "TextCrossEncoder":
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        return TextCrossEncoder(self.model)
