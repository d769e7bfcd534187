"""Grammars that code is cut by, one package a language; the extra `code` installs them."""

from functools import cache
from importlib import import_module

from rag_assets.errors import ConfigError

_FUNCTIONS = {
    "bash": ("tree_sitter_bash", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "python": ("tree_sitter_python", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "shell": ("tree_sitter_bash", "language"),
    "typescript": ("tree_sitter_typescript", "language_tsx"),
}

PACKAGES = tuple(sorted({module.replace("_", "-") for module, _ in _FUNCTIONS.values()}))
"""The distributions, whose versions decide how code is cut."""


def has_grammar(media_type: str) -> bool:
    """Whether this kind of document is code of a language with a grammar."""
    return media_type.removeprefix("text/x-") in _FUNCTIONS


@cache
def grammar(media_type: str) -> object:
    """The grammar of such a document. Raises: ConfigError when its package is not installed."""
    language = media_type.removeprefix("text/x-")
    module, function = _FUNCTIONS[language]
    try:
        return getattr(import_module(module), function)()
    except ImportError as error:
        raise ConfigError(
            f"chunking strategy code: the grammar of {language} is not installed;"
            " pip install 'rag-assets[code]', or choose the strategy text"
        ) from error
