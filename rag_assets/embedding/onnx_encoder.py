"""The local encoder: onnxruntime over length-sorted batches, on the CPU or a GPU."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store
from rag_assets.embedding.base import Batch, OnBatch, gathered
from rag_assets.embedding.batching import distinct, padded, plan_batches
from rag_assets.embedding.tokenising import TokenIds
from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# onnxruntime would replace Add + LayerNormalization by an operator that measured 8 × slower.
_SLOWER = ["SkipLayerNormFusion"]
# Tokens of one inference call, padding included: docs/embedding.md has the measurements.
_TOKEN_BUDGET = 2048
# Texts tokenised and sorted together. The first lot is small so that inference starts at once; at
# the second size sorting leaves under 1 % padding and the token ids take at most 16 MB.
_FIRST_WINDOW, _WINDOW = 512, 16384


class OnnxEncoder:
    """An `Encoder` over a local model; see `base.Encoder` for what the methods promise."""

    def __init__(self, config: EmbeddingConfig) -> None:
        self._files = model_store.find_model(config.model)
        self.fingerprint = model_store.fingerprint(self._files, config.precision)
        self.name = self._files.name
        self.dimension = self._files.dimension
        self.max_tokens = self._files.max_tokens
        self._tokens = TokenIds(self._files)
        self._session = _session(self._files, config)
        self.provider: str = self._session.get_providers()[0]

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Vectors of passages as they finish, longest texts first within a window."""
        different, positions = distinct(texts)
        for indices, ids in self._token_batches(different):
            found = self._run(ids)
            repeats = [len(positions[index]) for index in indices]
            places = [place for index in indices for place in positions[index]]
            yield Batch(places, np.repeat(found, repeats, axis=0), sum(map(len, ids)))

    def encode(self, texts: Sequence[str], on_batch: OnBatch | None = None) -> np.ndarray:
        """Vectors of passages: float32 (n, dim), L2-normalised, in the order given."""
        return gathered(self.batches(texts), (len(texts), self.dimension), on_batch)

    def encode_query(self, text: str) -> np.ndarray:
        """The vector of one query: float32 (dim,), L2-normalised."""
        [vector] = self._run(self._tokens.ids([self._files.query_prefix + text]))
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut and without special tokens."""
        return self._tokens.count(texts)

    def _token_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Indices and token ids of each batch; the next window is tokenised during inference."""
        starts = [0, *range(_FIRST_WINDOW, len(texts), _WINDOW)]
        ends = [*starts[1:], len(texts)]
        prefix = self._files.passage_prefix

        def tokenised(start: int, end: int) -> list[np.ndarray]:
            return self._tokens.ids([prefix + text for text in texts[start:end]])

        if not texts:
            return
        with ThreadPoolExecutor(1, "tokenise") as ahead:
            coming = ahead.submit(tokenised, starts[0], ends[0])
            for number, start in enumerate(starts):
                ids = coming.result()
                if number + 1 < len(starts):
                    coming = ahead.submit(tokenised, starts[number + 1], ends[number + 1])
                for batch in plan_batches([len(row) for row in ids], _TOKEN_BUDGET):
                    yield [start + index for index in batch], [ids[index] for index in batch]

    def _run(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        tokens, mask = padded(ids)
        feed = {"input_ids": tokens, "attention_mask": mask}
        [vectors] = self._session.run(["sentence_embedding"], feed)
        return vectors


def usable_cores() -> int:
    """Cores this process may use: its affinity, or less where a control group grants less."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores  # no control group v2: nothing grants less
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def _session(files: model_store.ModelFiles, config: EmbeddingConfig) -> "InferenceSession":
    """A session on the device asked for.

    `auto` takes a GPU when it works and the precision suits it (int8 is a form for CPUs).
    Raises: ConfigError when `cuda` was asked for and cannot be had.
    """
    import onnxruntime

    gpu_built_in = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if config.device == "cuda" and not gpu_built_in:
        raise ConfigError(
            "embedding.device: cuda asked for, but the installed onnxruntime has no CUDA provider;"
            " install the gpu extra (docs/embedding.md) or set device to auto or cpu."
        )
    if config.device == "cuda" and config.precision == "int8":
        raise ConfigError(
            "embedding.precision: int8 runs on CPUs only, with embedding.device: cuda set precision"
            " to fp32."
        )
    wants_gpu = gpu_built_in and config.device != "cpu" and config.precision == "fp32"
    providers = ["CPUExecutionProvider"]
    if wants_gpu:
        onnxruntime.preload_dlls()  # CUDA and cuDNN from their wheels, where those are installed
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3  # what matters is raised or reported; warnings are noise
    graph = model_store.graph_file(files, config.precision)
    session = onnxruntime.InferenceSession(
        str(graph), options, providers=providers, disabled_optimizers=_SLOWER
    )
    used = session.get_providers()[0]
    if config.device == "cuda" and used != "CUDAExecutionProvider":
        raise ConfigError(
            f"embedding.device: cuda asked for, but onnxruntime runs on {used}; check with"
            " nvidia-smi and that CUDA 13 and cuDNN 9 are installed, or set device to auto or cpu."
        )
    return session
