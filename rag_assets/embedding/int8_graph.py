"""int8 arithmetic for the encoder graph, such that a vector depends on its text alone.

The usual dynamic quantisation takes one scale for a whole batch of activations, so a text's
vector shifts with its neighbours in the batch, and the outlier channels that every BERT has take
the resolution of all others. Here the inputs of attention and feed-forward blocks, which come out
of layer norms and so have stable ranges, get fixed scales, smoothed per channel (SmoothQuant, Xiao
et al. 2022); what comes out of GELU gets one scale per token. Random token ids calibrate as well
as text does (docs/embedding.md), so no corpus is needed.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rag_assets.embedding.bert_graph import FLOAT, MICROSOFT, BertShape, Graph, site

if TYPE_CHECKING:
    import onnx

# Raised by hand whenever a change here changes a vector; part of every int8 fingerprint.
QUANTISER_VERSION = 1

_SMOOTHING = 0.8  # measured flat from 0.7 to 0.9
_MARGIN = 1.1  # room above the calibrated range before values are cut
_SEQUENCES = 100
# GELU never goes below -0.17: an offset of 32 of 255 steps loses an eighth of the range, and
# values up to 223 steps take the rest.
_GELU_ZERO = 32
_GELU_MINIMUM = 0.17


class Int8:
    """Signed or unsigned 8-bit weights per output channel, 8-bit activations.

    `ranges` holds the largest magnitude of each channel at each site (see `calibrate`). Unsigned
    weights are the same integers shifted by 128: processors without VNNI instructions add pairs of
    u8 × s8 products in 16 bits and saturate, u8 × u8 they compute exactly.
    """

    def __init__(self, ranges: Mapping[str, np.ndarray], signed: bool) -> None:
        self._ranges = ranges
        self._signed = signed
        self._scales: dict[str, tuple[np.ndarray, np.float32]] = {}

    def lookup(self, graph: Graph, name: str, table: np.ndarray, ids: str) -> str:
        """Rows of a table kept as int8 with one scale a row."""
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
        quantised = np.rint(table / scales).astype(np.int8)
        graph.node("Gather", [graph.constant(f"{name}.table", quantised), ids], f"{name}.q")
        graph.node("Gather", [graph.constant(f"{name}.scales", scales), ids], f"{name}.s")
        graph.node("Cast", [f"{name}.q"], f"{name}.f", to=FLOAT)
        return graph.node("Mul", [f"{name}.f", f"{name}.s"], name)

    def prepare(self, graph: Graph, site: str, value: str, weights: list[np.ndarray]) -> str:
        """The value as uint8 (tokens, in)."""
        if site.endswith(".down"):
            return self._scaled_by_row(graph, site, value)
        smoothing = self._smoothing(site, weights)
        if smoothing is not None:
            inverse = graph.constant(f"{site}.inverse", (1 / smoothing).astype(np.float32))
            value = graph.node("Mul", [value, inverse], f"{site}.smooth")
        constants = [
            graph.constant(f"{site}.scale", self._scales[site][1]),
            graph.constant(f"{site}.zero", np.uint8(128)),
        ]
        return graph.node("QuantizeLinear", [value, *constants], f"{site}.q")

    def _smoothing(self, site: str, weights: list[np.ndarray]) -> np.ndarray | None:
        """Channel factors (in,) that even out the ranges; kept with the step for `product`."""
        reach = self._ranges[site] * _MARGIN
        if site.endswith(".out"):  # no outlier channels there
            self._scales[site] = np.ones_like(reach), np.float32(reach.max() / 127)
            return None
        largest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
        factors = reach**_SMOOTHING / np.maximum(largest, 1e-9) ** (1 - _SMOOTHING)
        self._scales[site] = factors, np.float32((reach / factors).max() / 127)
        return factors

    def _scaled_by_row(self, graph: Graph, site: str, value: str) -> str:
        """GELU's output with steps of its own for every token, `SITE.step` (tokens, 1)."""
        room = graph.constant("gelu.room", np.float32(255 - _GELU_ZERO))
        most = graph.constant("gelu.most", np.float32(_GELU_ZERO / _GELU_MINIMUM))
        last = graph.constant("gelu.axis", np.array([-1]))
        graph.node("ReduceMax", [value, last], f"{site}.max", keepdims=1)
        graph.node("Div", [room, f"{site}.max"], f"{site}.wanted")
        least = graph.constant("gelu.least", np.float32(1e-6))
        graph.node("Clip", [f"{site}.wanted", least, most], f"{site}.rate")
        graph.node("Mul", [value, f"{site}.rate"], f"{site}.scaled")
        one = graph.constant("gelu.one", np.float32(1))
        zero = graph.constant("gelu.zero", np.uint8(_GELU_ZERO))
        self._scales[site] = np.ones(1), np.float32(1)
        return graph.node("QuantizeLinear", [f"{site}.scaled", one, zero], f"{site}.q")

    def product(
        self, graph: Graph, site: str, prepared: str, weight: np.ndarray, bias: np.ndarray, out: str
    ) -> str:
        """`value @ weight + bias`, accumulated in int32."""
        factors, step = self._scales[site]
        smooth = weight * factors[:, None]
        scales = (np.maximum(np.abs(smooth).max(axis=0), 1e-12) / 127).astype(np.float32)
        quantised = np.rint(smooth / scales).astype(np.int8)
        zeros = np.zeros(len(scales), np.int8)
        if not self._signed:
            quantised = (quantised.astype(np.int16) + 128).astype(np.uint8)
            zeros = np.full(len(scales), 128, np.uint8)
        by_row = site.endswith(".down")
        inputs = [
            prepared,
            graph.constant(f"{out}.weight", quantised),
            graph.constant(f"{site}.scale", step),
            graph.constant(f"{out}.scales", scales),
            "gelu.zero" if by_row else f"{site}.zero",
            graph.constant(f"{out}.zeros", zeros),
        ]
        graph.constant(f"{out}.bias", bias)
        if not by_row:
            inputs.append(f"{out}.bias")
            return graph.node("MatMulIntegerToFloat", inputs, out, domain=MICROSOFT)
        graph.node("MatMulIntegerToFloat", inputs, f"{out}.scaled", domain=MICROSOFT)
        graph.node("Div", [f"{out}.scaled", f"{site}.rate"], f"{out}.unbiased")
        return graph.node("Add", [f"{out}.unbiased", f"{out}.bias"], out)


def calibrate(model: "onnx.ModelProto", shape: BertShape) -> dict[str, np.ndarray]:
    """Largest magnitude of each channel, by site, over seeded random tokens: float64 (in,).

    Rounded up to eighths of a power of two, so that machines whose float32 products differ in the
    last bits still build the same graph.
    """
    import onnxruntime
    from onnx import ModelProto, helper

    sites = [site(layer, part) for layer in range(shape.layers) for part in ("qkv", "out", "up")]
    probed = ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_tensor_value_info(s, FLOAT, None) for s in sites)
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],
    )
    largest = {name: np.zeros(shape.hidden) for name in sites}
    for ids in _random_sequences(shape.vocabulary, min(shape.positions, 256) - 2):
        values = session.run(sites, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, value in zip(sites, values, strict=True):
            largest[name] = np.maximum(largest[name], np.abs(value).max(axis=0))
    return {name: _rounded_up(reach) for name, reach in largest.items()}


def _random_sequences(vocabulary: int, longest: int) -> Iterable[np.ndarray]:
    """Token ids (1, length): random words, one word repeated, and nothing at all."""
    random = np.random.default_rng(0)
    start, end = 101, 102  # [CLS] and [SEP] of the published BERT vocabularies
    first_word = 999  # before it lie special and unused ids
    for length in random.integers(0, longest, _SEQUENCES):
        yield np.array([[start, *random.integers(first_word, vocabulary, length), end]])
    for repeats in (0, 1, 1, 1, 3, 10, longest // 4, longest):
        word = int(random.integers(first_word, vocabulary))
        yield np.array([[start, *[word] * repeats, end]])


def _rounded_up(reach: np.ndarray) -> np.ndarray:
    return 2 ** (np.ceil(np.log2(np.maximum(reach, 1e-6)) * 8) / 8)
