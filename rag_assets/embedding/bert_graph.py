"""The ONNX graph of a BERT sentence encoder, written from its safetensors weights.

`encoder → pooling → L2 norm` in one graph with two outputs: `sentence_embedding` (batch, dim) and
`token_embeddings` (batch, sequence, dim), both float32. Attention, bias + GELU and skip + layer
norm are onnxruntime's fused operators (domain com.microsoft, exact, not approximations), which
both its CPU and CUDA providers implement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    import onnx

# Raised by hand whenever a change here changes a vector; part of every model fingerprint.
GRAPH_VERSION = 1

_MICROSOFT = "com.microsoft"
_INT32, _FLOAT = 6, 1  # onnx.TensorProto's numbers
_OPSET = 17  # the first with LayerNormalization


@dataclass(frozen=True, slots=True)
class BertShape:
    """What the graph needs of a model's config.json; `pooling` is mean or cls."""

    layers: int
    heads: int
    hidden: int
    epsilon: float
    pooling: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any], pooling: str) -> "BertShape":
        """Read a Hugging Face config.json.

        Raises: ConfigError for another architecture than BERT, exact GELU, absolute positions.
        """
        found = (
            config.get("model_type"),
            config.get("hidden_act", "gelu"),
            config.get("position_embedding_type", "absolute"),
        )
        if found != ("bert", "gelu", "absolute"):
            raise ConfigError(
                f"embedding.model: weights of architecture {found} found, only ('bert', 'gelu',"
                " 'absolute') can be built from safetensors; put its model.onnx into the directory."
            )
        return cls(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            pooling=pooling,
        )


class _Graph:
    """Nodes and constants under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def build_bert(weights: Mapping[str, np.ndarray], shape: BertShape) -> "onnx.ModelProto":
    """The graph of an encoder whose float32 weights bear Hugging Face's names for BERT.

    Inputs: `input_ids`, `attention_mask`, both int64 (batch, sequence), padded with zeros.
    """
    tensors = {name.removeprefix("bert."): value for name, value in weights.items()}
    graph = _Graph()
    graph.node("Cast", ["attention_mask"], "mask", to=_INT32)  # int32, what Attention reads
    hidden = _embeddings(graph, tensors, shape)
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        hidden = _layer(graph, tensors, shape, layer, hidden, "token_embeddings" if last else None)
    _pool(graph, hidden, shape.pooling)
    return _model(graph, shape.hidden)


def _embeddings(graph: _Graph, tensors: Mapping[str, np.ndarray], shape: BertShape) -> str:
    """Word + position + type 0, normalised. The one token type is folded into the positions."""
    words = graph.constant("word_table", tensors["embeddings.word_embeddings.weight"])
    table = (
        tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    positions = graph.constant("position_table", table)
    graph.node("Gather", [words, "input_ids"], "words", axis=0)
    graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    start = graph.constant("zero", np.zeros(1, np.int64))
    graph.node("Slice", [positions, start, "length", start], "positions")
    graph.node("Add", ["words", "positions"], "embedded")
    scale = graph.constant("embedded.scale", tensors["embeddings.LayerNorm.weight"])
    bias = graph.constant("embedded.bias", tensors["embeddings.LayerNorm.bias"])
    return graph.node(
        "LayerNormalization",
        ["embedded", scale, bias],
        "embedded_norm",
        axis=-1,
        epsilon=shape.epsilon,
    )


def _layer(
    graph: _Graph,
    tensors: Mapping[str, np.ndarray],
    shape: BertShape,
    number: int,
    hidden: str,
    output: str | None,
) -> str:
    """One encoder layer; returns the name of its output (batch, sequence, hidden)."""
    source = f"encoder.layer.{number}"
    here = f"layer{number}"

    def constant(name: str, *paths: str, transpose: bool = False) -> str:
        parts = [tensors[f"{source}.{path}"] for path in paths]
        joined = np.concatenate([part.T for part in parts] if transpose else parts, axis=-1)
        return graph.constant(f"{here}.{name}", joined)

    def skip_norm(value: str, skip: str, path: str, bias: str, out: str) -> str:
        scale = constant(f"{path}.scale", f"{path}.LayerNorm.weight")
        shift = constant(f"{path}.shift", f"{path}.LayerNorm.bias")
        return graph.node(
            "SkipLayerNormalization",
            [value, skip, scale, shift, bias],
            out,
            domain=_MICROSOFT,
            epsilon=shape.epsilon,
        )

    heads = [f"attention.self.{part}" for part in ("query", "key", "value")]
    graph.node(
        "Attention",
        [
            hidden,
            constant("qkv.weight", *[f"{head}.weight" for head in heads], transpose=True),
            constant("qkv.bias", *[f"{head}.bias" for head in heads]),
            "mask",
        ],
        f"{here}.attended",
        domain=_MICROSOFT,
        num_heads=shape.heads,
    )
    weight = constant("out.weight", "attention.output.dense.weight", transpose=True)
    graph.node("MatMul", [f"{here}.attended", weight], f"{here}.projected")
    bias = constant("out.bias", "attention.output.dense.bias")
    middle = skip_norm(
        f"{here}.projected", hidden, "attention.output", bias, f"{here}.attention_norm"
    )
    weight = constant("up.weight", "intermediate.dense.weight", transpose=True)
    graph.node("MatMul", [middle, weight], f"{here}.up")
    bias = constant("up.bias", "intermediate.dense.bias")
    graph.node("BiasGelu", [f"{here}.up", bias], f"{here}.gelu", domain=_MICROSOFT)
    weight = constant("down.weight", "output.dense.weight", transpose=True)
    graph.node("MatMul", [f"{here}.gelu", weight], f"{here}.down")
    bias = constant("down.bias", "output.dense.bias")
    return skip_norm(f"{here}.down", middle, "output", bias, output or f"{here}.norm")


def extend_with_pooling(model: "onnx.ModelProto", pooling: str) -> "onnx.ModelProto":
    """An exported encoder with the outputs of `build_bert`; its first output are token vectors.

    A model whose first output is (batch, dim) already pools: its output is only normalised, and it
    has no `token_embeddings`.
    """
    from onnx import compose, helper

    extended = compose.add_prefix(model, "model/", rename_inputs=False)  # no name can collide
    first = extended.graph.output[0]
    rank = len(first.type.tensor_type.shape.dim)
    graph = _Graph()
    if rank == 2:
        graph.node("LpNormalization", [first.name], "sentence_embedding", axis=-1, p=2)
    else:
        graph.node("Identity", [first.name], "token_embeddings")
        _pool(graph, "token_embeddings", pooling)
    dimension = first.type.tensor_type.shape.dim[rank - 1].dim_value or None
    extended.graph.node.extend(graph.nodes)
    extended.graph.initializer.extend(graph.constants)
    del extended.graph.output[:]
    names = ["sentence_embedding"] + (["token_embeddings"] if rank == 3 else [])
    for name in names:
        axes = (
            ["batch", dimension]
            if name == "sentence_embedding"
            else ["batch", "sequence", dimension]
        )
        extended.graph.output.append(helper.make_tensor_value_info(name, _FLOAT, axes))
    return extended


def _pool(graph: _Graph, hidden: str, pooling: str) -> None:
    """Append `sentence_embedding`: token vectors (batch, sequence, dim) pooled, L2-normalised."""
    if pooling == "cls":
        first = graph.constant("first", np.zeros((), np.int64))
        graph.node("Gather", [hidden, first], "pooled", axis=1)
    else:
        # mean = mask (batch, 1, sequence) @ tokens / count; the norm makes the count superfluous
        axis = graph.constant("pool_axis", np.ones(1, np.int64))
        graph.node("Cast", ["attention_mask"], "float_mask", to=_FLOAT)
        graph.node("Unsqueeze", ["float_mask", axis], "row_mask")
        graph.node("MatMul", ["row_mask", hidden], "summed")
        graph.node("Squeeze", ["summed", axis], "pooled")
    graph.node("LpNormalization", ["pooled"], "sentence_embedding", axis=-1, p=2)


def _model(graph: _Graph, dimension: int) -> "onnx.ModelProto":
    from onnx import TensorProto, helper

    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info(
            "sentence_embedding", TensorProto.FLOAT, ["batch", dimension]
        ),
        helper.make_tensor_value_info(
            "token_embeddings", TensorProto.FLOAT, ["batch", "sequence", dimension]
        ),
    ]
    return helper.make_model(
        helper.make_graph(graph.nodes, "sentence_encoder", ids, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=10,
        producer_name="rag_assets",
    )
