"""What pydantic finds wrong, in words for the person who wrote the file."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from rag_assets.config.knowledge_base import AnySource, KnowledgeBaseConfig

# Settings that hold a credential, or an address with one: what was found is not told.
_SECRET = re.compile("token|secret|password|key|url", re.IGNORECASE)
_TYPES = {
    name
    for source in get_args(get_args(AnySource)[0])
    for name in get_args(source.model_fields["type"].annotation)
}
_MANY = 12  # of the keys that could have been meant, so many are told
_NAME = "lower-case letters, digits and hyphens, beginning with a letter or digit"
_PATTERNS = {
    r"^[a-z0-9][a-z0-9-]*$": _NAME,
    r"^[a-z0-9][a-z0-9_-]*$": _NAME.replace(" and hyphens", ", _ and hyphens"),
}
_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}


def in_words(error: Any, root: type[BaseModel] = KnowledgeBaseConfig) -> str:
    """One pydantic error as `key: what is wrong, what was expected`; root: what was read."""
    where, there = _walk(error["loc"], root)
    key = ".".join(str(part) for part in where)
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_expected(str(where[-1]), there)}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "union_tag_not_found":
        return f"{key}.type: this key is required; expected {_tags(error)}"
    message = _message(error)
    if kind == "value_error":
        # Of the whole file: the message names its keys itself.
        return f"{key}: {message}" if key else message
    if _SECRET.search(str(where[-1]) if where else ""):
        return f"{key}: {message}"
    if kind == "union_tag_invalid":
        return f"{key}.type: {message}, found {error['ctx']['tag']!r}"
    return f"{key}: {message}, found {_found(error.get('input'))}"


def _message(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}"
    if kind == "union_tag_invalid":
        return f"expected {_tags(error)}"
    if kind == "string_pattern_mismatch" and context.get("pattern") in _PATTERNS:
        return f"expected {_PATTERNS[context['pattern']]}"
    if kind == "too_short":
        return f"expected at least {context['min_length']} of them"
    message = error["msg"].removeprefix("Value error, ")
    message = re.sub(r"^Input should be (greater|less) than", r"expected a number \1 than", message)
    return re.sub(r"^(?:Input|String|Value) should (?:be|match)", "expected", message)


def _tags(error: Any) -> str:
    """The types that a section may have."""
    told = error.get("ctx", {}).get("expected_tags")
    return f"one of {told}" if told else f"one of {', '.join(sorted(_TYPES))}"


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list" if value else "none"
    if value is None:
        return "nothing"
    return repr(value)


def _expected(unknown: str, there: Sequence[type[BaseModel]]) -> str:
    """The keys that may stand where an unknown one was found: the nearest, or all of them."""
    known = sorted({name for model in there for name in model.model_fields})
    near = get_close_matches(unknown, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    shown = known if len(known) <= _MANY else [*known[:_MANY], "…"]
    return f"expected one of {', '.join(shown)}" if shown else "nothing is expected here"


def _walk(
    location: Sequence[int | str], root: type[BaseModel]
) -> tuple[list[int | str], list[type[BaseModel]]]:
    """The keys on the way to a mistake, without the types that pydantic puts between them, and the
    sections whose key the last one is or might have been."""
    keys: list[int | str] = []
    kinds: list[Any] = [root]
    models: list[type[BaseModel]] = []
    for part in location:
        models = [model for kind in kinds for model in _models(kind)] or models
        tagged = [model for model in models if part in _tags_of(model)]
        if tagged and len(models) > 1:
            kinds = list(tagged)
            continue
        within = [m.model_fields[str(part)].annotation for m in models if part in m.model_fields]
        keys.append(part)
        kinds = within or (kinds if isinstance(part, int) else [])
    return keys, models


def _tags_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """What pydantic writes for this section where several could stand."""
    field = model.model_fields.get("type")
    return (model.__name__, *(get_args(field.annotation) if field else ()))


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The sections in an annotation, below lists, unions and annotations."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        return
    for inner in get_args(kind):
        yield from _models(inner)
