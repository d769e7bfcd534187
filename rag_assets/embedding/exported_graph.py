"""An exported model.onnx, brought into the form of our own graphs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rag_assets.embedding.bert_graph import FLOAT, MICROSOFT, Graph, pool

if TYPE_CHECKING:
    import onnx


_QUANTISED = {"MatMul", "Gather", "Attention", "EmbedLayerNormalization"}


def with_pooling(model: "onnx.ModelProto", pooling: str) -> "onnx.ModelProto":
    """An exported encoder with the outputs of `build_bert`; its first output are token vectors.

    A model whose first output is (batch, dim) already pools: its output is only normalised, and it
    has no `token_embeddings`.
    """
    from onnx import compose, helper

    extended = compose.add_prefix(model, "model/", rename_inputs=False)  # no name can collide
    first = extended.graph.output[0]
    rank = len(first.type.tensor_type.shape.dim)
    dimension = first.type.tensor_type.shape.dim[rank - 1].dim_value or None
    graph = Graph()
    axes = {"sentence_embedding": ["batch", dimension]}
    if rank == 2:
        graph.node("LpNormalization", [first.name], "sentence_embedding", axis=-1, p=2)
    else:
        axes["token_embeddings"] = ["batch", "sequence", dimension]
        graph.node("Identity", [first.name], "token_embeddings")
        pool(graph, pooling)
    extended.graph.node.extend(graph.nodes)
    extended.graph.initializer.extend(graph.constants.values())
    del extended.graph.output[:]
    extended.graph.output.extend(
        helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in axes.items()
    )
    return extended


def dynamically_quantised(model: "onnx.ModelProto", signed: bool) -> "onnx.ModelProto":
    """int8 for a graph whose weights are not known by name: onnxruntime's dynamic quantisation.

    Weights per channel, activations per batch: vectors depend a little on their batch.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kinds = {
        node.op_type
        for node in model.graph.node
        # the quantiser takes the standard Attention for onnxruntime's older one of that name
        if node.op_type != "Attention" or node.domain == MICROSOFT
    }
    # Without this mark the quantiser warns that the graph was not pre-processed; it needs no more.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=sorted(kinds & _QUANTISED),
            per_channel=True,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            # onnxruntime's fused operators have no shape inference; all they give is float
            extra_options={"DefaultTensorType": FLOAT},
        )
        return onnx.load(str(target))
