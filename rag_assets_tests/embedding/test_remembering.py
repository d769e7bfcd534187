import numpy as np

from rag_assets.embedding import remembering
from rag_assets.embedding.remembering import Remembering


def test_no_text_is_encoded_twice_while_it_is_remembered(monkeypatch):
    monkeypatch.setattr(remembering, "_MOST", 3)
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.array([[float(len(text))] for text in texts], np.float32)

    known = Remembering(encode)
    assert known.encode(["a", "bb", "a"]).tolist() == [[1], [2], [1]]
    assert known.encode(["bb", "ccc"]).tolist() == [[2], [3]]
    assert asked == ["a", "bb", "ccc"]
    assert known.encode(["dddd", "bb"]).tolist() == [[4], [2]]  # too many: the others are forgotten
    known.encode(["a"])
    assert asked == ["a", "bb", "ccc", "dddd", "a"]
