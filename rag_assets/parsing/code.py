"""Source code, with its top-level definitions as headings."""

import re

from rag_assets.parsing.base import Heading, Parsed
from rag_assets.parsing.text import readable

LANGUAGES = {
    "py": "python", "pyi": "python", "js": "javascript", "mjs": "javascript", "cjs": "javascript",
    "jsx": "javascript", "ts": "typescript", "tsx": "typescript", "java": "java", "kt": "kotlin",
    "scala": "scala", "go": "go", "rs": "rust", "c": "c", "h": "c", "cc": "cpp", "cpp": "cpp",
    "hpp": "cpp", "cxx": "cpp", "cs": "csharp", "rb": "ruby", "php": "php", "swift": "swift",
    "m": "objective-c", "sh": "shell", "bash": "shell", "zsh": "shell", "ps1": "powershell",
    "sql": "sql", "r": "r", "jl": "julia", "lua": "lua", "pl": "perl", "pm": "perl", "ex": "elixir",
    "exs": "elixir", "erl": "erlang", "hs": "haskell", "ml": "ocaml", "clj": "clojure",
    "dart": "dart", "vue": "vue", "svelte": "svelte", "tf": "terraform", "hcl": "hcl",
    "proto": "protobuf", "graphql": "graphql", "css": "css", "scss": "scss", "yaml": "yaml",
    "yml": "yaml", "toml": "toml", "ini": "ini", "cfg": "ini", "conf": "ini", "tex": "latex",
    "dockerfile": "dockerfile", "makefile": "makefile", "cmake": "cmake", "gradle": "gradle",
    "bat": "batch", "zig": "zig", "nim": "nim", "vb": "visual-basic", "asm": "assembly",
}  # fmt: skip

_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|pub(?:\([\w:]+\))?|static|final|async|"
    r"abstract|sealed|open|data|unsafe|extern|inline|declare|partial|override) )*"
)
_KINDS = (
    r"(?:class|def|defmodule|defn|func|fun|fn|function|struct|enum|interface|trait|impl|type|module|"
    r"namespace|record|object|protocol|message|service|resource|CREATE (?:OR REPLACE )?\w+)"
)
_DEFINITION = re.compile(
    rf"{_MODIFIERS}{_KINDS} +(?:\([^)]{{0,80}}\) ?)?[\"']?([A-Za-z_$][\w$.:<>]{{0,80}})",
    re.IGNORECASE,
)


def parse_code(data: bytes, name: str) -> Parsed:
    """The source itself; what is defined at the left margin gives the headings."""
    text = readable(data)
    language = language_of(name) or "text"
    headings = []
    start = 0
    for line in text.split("\n"):
        definition = _DEFINITION.match(line[:300]) if line[:1].isalpha() else None
        if definition:
            headings.append(Heading(start, 1, definition[1].rstrip(":.<")))
        start += len(line) + 1
    metadata = {"programming_language": language}
    return Parsed(text, None, f"text/x-{language}", tuple(headings), metadata=metadata)


def language_of(name: str) -> str | None:
    """The programming language that a file name speaks for."""
    base = name.rpartition("/")[2].lower()
    return LANGUAGES.get(base.rpartition(".")[2])
