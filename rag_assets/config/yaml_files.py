"""Reading YAML that people write, with its mistakes in words."""

from pathlib import Path
from typing import Any

import yaml

from rag_assets.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Plain YAML in which no key may stand twice: the last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises: YAMLError where a key stands twice."""
        seen: dict[str, int] = {}
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and seen.setdefault(name.value, line) != line:
                raise yaml.YAMLError(
                    f"the key {name.value!r} stands in lines {seen[name.value]} and {line}"
                )
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> Any:
    """What a YAML file says. Raises: ConfigError with the file, the place and what is wrong."""
    try:
        return yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {_in_words(error)}") from error


def _in_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    told = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
    return told + ("; YAML is indented with spaces" if "'\\t'" in told else "")
