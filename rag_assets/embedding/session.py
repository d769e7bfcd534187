"""onnxruntime sessions: the device asked for, the cores this process may use."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_store
from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# onnxruntime would replace Add + LayerNormalization by an operator that measured 8 × slower.
_SLOWER = ["SkipLayerNormFusion"]
# Tokens of one inference call, padding included. On a CPU a core computes a small batch whose
# activations stay in its cache (512 tokens: 126 texts/s, 2,048: 108); a GPU wants large ones.
_CPU_TOKENS, _GPU_TOKENS = 512, 16384


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session, the provider really in use, and how to feed it.

    `callers` threads call it at once with batches of `token_budget` tokens: one thread a core is
    faster than all cores on one batch, and far faster on a machine that others use too.
    """

    session: "InferenceSession"
    provider: str
    callers: int
    token_budget: int


def usable_cores() -> int:
    """Cores this process may use: its affinity, or less by a control group or OMP_NUM_THREADS.

    Ray, for one, sets that variable in its workers.
    """
    cores = len(os.sched_getaffinity(0))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        cores = min(cores, int(wanted))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores  # no control group v2: nothing grants less
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def open_session(files: model_store.ModelFiles, config: EmbeddingConfig) -> OpenSession:
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
    options.intra_op_num_threads = 1
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
    if used == "CPUExecutionProvider":
        return OpenSession(session, used, usable_cores(), _CPU_TOKENS)
    return OpenSession(session, used, 2, _GPU_TOKENS)
