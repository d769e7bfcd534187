"""The ONNX graph of a BERT sentence encoder, written from its safetensors weights.

Encoder, pooling and L2 norm in one graph with two outputs: `sentence_embedding` (batch, dim) and
`token_embeddings` (batch, sequence, dim), both float32. The layout is what measured fastest on
CPUs (docs/embedding.md): all tokens of a batch as rows of one matrix, biases inside the matrix
products, the standard Attention operator with lengths instead of a mask. How matrices are
multiplied is left to an `Arithmetic`: float32 here, int8 in `int8_graph`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rag_assets.errors import ConfigError

if TYPE_CHECKING:
    import onnx

# Raised by hand whenever a change here changes a vector; part of every model fingerprint.
GRAPH_VERSION = 1

MICROSOFT = "com.microsoft"
INT32, INT64, FLOAT = 6, 7, 1  # onnx.TensorProto's numbers
_OPSET = 24  # the first whose Attention takes the number of unpadded keys


@dataclass(frozen=True, slots=True)
class BertShape:
    """What the graph needs of a model's config.json; `pooling` is mean or cls."""

    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
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
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            pooling=pooling,
        )


class Graph:
    """Nodes and constants under construction; every value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator with one output and return the output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


class Arithmetic(Protocol):
    """How the graph looks up a table and multiplies matrices."""

    def lookup(self, graph: Graph, name: str, table: np.ndarray, ids: str) -> str:
        """Rows (tokens, hidden) of a table, by ids (tokens,)."""

    def prepare(self, graph: Graph, site: str, value: str, weights: list[np.ndarray]) -> str:
        """What the products of `value` (tokens, in) with these weights (in, out) start from."""

    def product(
        self, graph: Graph, site: str, prepared: str, weight: np.ndarray, bias: np.ndarray, out: str
    ) -> str:
        """`value @ weight + bias`, (tokens, out), where `prepare` gave `prepared`."""


class Float32:
    """Plain float32: exact to the original model."""

    def lookup(self, graph: Graph, name: str, table: np.ndarray, ids: str) -> str:
        """Rows (tokens, hidden) of a table, by ids (tokens,)."""
        return graph.node("Gather", [graph.constant(f"{name}.table", table), ids], name)

    def prepare(self, graph: Graph, site: str, value: str, weights: list[np.ndarray]) -> str:
        """The value itself."""
        return value

    def product(
        self, graph: Graph, site: str, prepared: str, weight: np.ndarray, bias: np.ndarray, out: str
    ) -> str:
        """`prepared @ weight + bias`."""
        constants = [
            graph.constant(f"{out}.weight", weight),
            graph.constant(f"{out}.bias", bias),
        ]
        return graph.node("Gemm", [prepared, *constants], out)


def build_bert(
    weights: Mapping[str, np.ndarray], shape: BertShape, arithmetic: Arithmetic
) -> "onnx.ModelProto":
    """The graph of an encoder whose float32 weights bear Hugging Face's names for BERT.

    Inputs: `input_ids`, `attention_mask`, both int64 (batch, sequence), padded at the end.
    """
    tensors = {name.removeprefix("bert."): value for name, value in weights.items()}
    graph = Graph()
    _geometry(graph, shape)
    hidden = _embeddings(graph, tensors, shape, arithmetic)
    for number in range(shape.layers):
        layer = {
            name.removeprefix(f"encoder.layer.{number}."): value
            for name, value in tensors.items()
            if name.startswith(f"encoder.layer.{number}.")
        }
        hidden = _layer(graph, layer, shape, arithmetic, f"layer{number}", hidden)
    graph.node("Reshape", [hidden, "shape3"], "token_embeddings")
    pool(graph, shape.pooling)
    return model_of(graph, shape.hidden)


def site(layer: int, part: str) -> str:
    """The name of a value that is multiplied by weights; `part` is qkv, out, up or down."""
    return f"layer{layer}.{part}"


def _geometry(graph: Graph, shape: BertShape) -> None:
    """`shape3` = (batch, sequence, hidden), `rows` = (-1, hidden), `lengths` = (batch,)."""
    hidden = graph.constant("hidden", np.array([shape.hidden]))
    graph.constant("rows", np.array([-1, shape.hidden]))
    graph.constant("flat", np.array([-1]))
    graph.constant("axis1", np.array([1]))
    graph.node("Shape", ["input_ids"], "shape2")
    graph.node("Concat", ["shape2", hidden], "shape3", axis=0)
    graph.node("ReduceSum", ["attention_mask", "axis1"], "lengths", keepdims=0)


def _embeddings(
    graph: Graph, tensors: Mapping[str, np.ndarray], shape: BertShape, arithmetic: Arithmetic
) -> str:
    """Word + position + type 0, normalised. The one token type is folded into the positions."""
    graph.node("Reshape", ["input_ids", "flat"], "ids")
    table = tensors["embeddings.word_embeddings.weight"]
    words = arithmetic.lookup(graph, "words", table, "ids")
    positions = (
        tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    graph.constant("positions.table", positions)
    start = graph.constant("zero", np.zeros(1, np.int64))
    graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    graph.node("Slice", ["positions.table", start, "length", start], "positions")
    graph.node("Reshape", [words, "shape3"], "words3")
    graph.node("Add", ["words3", "positions"], "embedded3")
    graph.node("Reshape", ["embedded3", "rows"], "embedded")
    return _norm(graph, "embedded", tensors, "embeddings.LayerNorm", shape.epsilon, "layer0.qkv")


def _norm(
    graph: Graph,
    value: str,
    tensors: Mapping[str, np.ndarray],
    path: str,
    epsilon: float,
    out: str,
) -> str:
    constants = [
        graph.constant(f"{out}.{part}", tensors[f"{path}.{part}"]) for part in ("weight", "bias")
    ]
    return graph.node("LayerNormalization", [value, *constants], out, axis=-1, epsilon=epsilon)


def _layer(
    graph: Graph,
    tensors: Mapping[str, np.ndarray],
    shape: BertShape,
    arithmetic: Arithmetic,
    here: str,
    hidden: str,
) -> str:
    """One encoder layer over (tokens, hidden); returns the name of its output."""

    def linear(part: str, value: str, paths: list[str]) -> list[str]:
        weights = [np.ascontiguousarray(tensors[f"{path}.weight"].T) for path in paths]
        prepared = arithmetic.prepare(graph, f"{here}.{part}", value, weights)
        return [
            arithmetic.product(
                graph,
                f"{here}.{part}",
                prepared,
                weight,
                tensors[f"{path}.bias"],
                f"{here}.{path.replace('.dense', '')}",
            )
            for path, weight in zip(paths, weights, strict=True)
        ]

    heads = linear("qkv", hidden, [f"attention.self.{name}" for name in ("query", "key", "value")])
    for name in heads:
        graph.node("Reshape", [name, "shape3"], f"{name}3")
    graph.node(
        "Attention",
        [*(f"{name}3" for name in heads), "", "", "", "lengths"],
        f"{here}.attended3",
        q_num_heads=shape.heads,
        kv_num_heads=shape.heads,
    )
    graph.node("Reshape", [f"{here}.attended3", "rows"], f"{here}.out")
    [attended] = linear("out", f"{here}.out", ["attention.output.dense"])
    graph.node("Add", [attended, hidden], f"{here}.sum1")
    middle = _norm(
        graph, f"{here}.sum1", tensors, "attention.output.LayerNorm", shape.epsilon, f"{here}.up"
    )
    [up] = linear("up", middle, ["intermediate.dense"])
    graph.node("Gelu", [up], f"{here}.down")
    [down] = linear("down", f"{here}.down", ["output.dense"])
    graph.node("Add", [down, middle], f"{here}.sum2")
    number = int(here.removeprefix("layer"))
    return _norm(
        graph, f"{here}.sum2", tensors, "output.LayerNorm", shape.epsilon, site(number + 1, "qkv")
    )


def pool(graph: Graph, pooling: str) -> None:
    """Append `sentence_embedding` to `token_embeddings`: pooled, L2-normalised."""
    if pooling == "cls":
        first = graph.constant("first", np.zeros((), np.int64))
        graph.node("Gather", ["token_embeddings", first], "pooled", axis=1)
    else:
        # mean = mask (batch, 1, sequence) @ tokens / count; the norm makes the count superfluous
        axis = graph.constant("pool_axis", np.ones(1, np.int64))
        graph.node("Cast", ["attention_mask"], "float_mask", to=FLOAT)
        graph.node("Unsqueeze", ["float_mask", axis], "row_mask")
        graph.node("MatMul", ["row_mask", "token_embeddings"], "summed")
        graph.node("Squeeze", ["summed", axis], "pooled")
    graph.node("LpNormalization", ["pooled"], "sentence_embedding", axis=-1, p=2)


def model_of(graph: Graph, dimension: int) -> "onnx.ModelProto":
    """The finished model, with its inputs and outputs declared."""
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(name, INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info("sentence_embedding", FLOAT, ["batch", dimension]),
        helper.make_tensor_value_info("token_embeddings", FLOAT, ["batch", "sequence", dimension]),
    ]
    constants = list(graph.constants.values())
    return helper.make_model(
        helper.make_graph(graph.nodes, "sentence_encoder", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=11,
        producer_name="rag_assets",
    )
