"""Reading YAML that people write, with its mistakes in words."""

from pathlib import Path
from typing import Any

import yaml

from rag_assets.errors import ConfigError


def read_yaml(file: Path) -> Any:
    """What a YAML file says. Raises: ConfigError with the file, the place and what is wrong."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        _demand_each_key_once(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {_in_words(error)}") from error


def _demand_each_key_once(root: yaml.Node | None) -> None:
    """Raises: YAMLError where a key stands twice in one mapping: the last one would win without a
    word. Looked for in what is written, where keys of other mappings are not merged in yet."""
    waiting = [root]
    looked_at: set[int] = set()  # an alias leads to a node again, perhaps to one that it is in
    while waiting:
        node = waiting.pop()
        if id(node) in looked_at or not isinstance(node, yaml.CollectionNode):
            continue
        looked_at.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        seen: dict[str, int] = {}
        for name, value in node.value:
            waiting.append(value)
            if not isinstance(name, yaml.ScalarNode):
                continue
            line = name.start_mark.line + 1
            first = seen.get(name.value)
            if first is not None:
                where = f"lines {first} and {line}" if first != line else f"line {line}, twice"
                raise yaml.YAMLError(f"the key {name.value!r} stands in {where}")
            seen[name.value] = line


def _in_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    told = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
    return told + ("; YAML is indented with spaces" if "'\\t'" in told else "")
