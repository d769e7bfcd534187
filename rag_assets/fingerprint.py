"""What made this row: the recipe of a stage, down to the first-party functions it reaches.

A recipe changes when a parameter, a hand-raised revision, the version of a library that shapes the
output, or the source of any function of this package that the stage can reach changes. Docstrings,
comments and formatting do not count.
"""

import ast
import functools
import inspect
import json
import re
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rag_assets.records import digest_of

_PACKAGE = "rag_assets"
_PLAIN = (str, bytes, int, float, bool, type(None))


def recipe(
    *functions: Callable[..., Any],
    parameters: object = None,
    revision: int = 0,
    libraries: Iterable[str] = (),
) -> str:
    """The recipe of a stage as 16 hex characters.

    functions: where the stage's own code begins; what they reach within this package counts too.
    parameters: anything JSON can hold; key order does not matter.
    revision: raised by hand when output changes for a reason nothing here can see.
    libraries: distribution names whose version shapes the output.
    """
    parts = [json.dumps(parameters, sort_keys=True, default=str), str(revision)]
    parts += [f"{name}=={_version(name)}" for name in sorted(libraries)]
    parts += [code_digest(function) for function in functions]
    return digest_of(*parts)[:16]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


@functools.cache
def code_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's source and of all first-party code reachable from it."""
    seen: dict[str, str] = {}
    pending: list[Any] = [function]
    while pending:
        thing = pending.pop()
        source = _normal_source(thing)
        name = f"{thing.__module__}.{thing.__qualname__}"
        if "<lambda>" in name:  # several in one place share a name
            name += digest_of(source)
        if name in seen:
            continue
        seen[name] = source
        pending += _reached(thing, seen)
    return digest_of(*(f"{name}\n{seen[name]}" for name in sorted(seen)))


def _normal_source(thing: Any) -> str:
    """Source without comments, docstrings and layout; of a lambda, whose source is only a part of
    its line, the compiled code."""
    if getattr(thing, "__name__", "") == "<lambda>":
        return _compiled(thing.__code__)
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, _DOCUMENTED):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _compiled(code: types.CodeType) -> str:
    constants = [
        _compiled(constant) if isinstance(constant, types.CodeType) else repr(constant)
        for constant in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


_DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def _reached(thing: Any, seen: dict[str, str]) -> list[Any]:
    """First-party functions and classes that `thing` refers to; constants go into `seen`."""
    found: list[Any] = []
    for function in _functions_of(thing):
        names = _names(function.__code__)
        scope = inspect.getclosurevars(function).nonlocals
        for name in sorted(names):
            value = scope.get(name, function.__globals__.get(name, _MISSING))
            if value is _MISSING:
                continue
            key = f"{function.__module__}:{name}"
            found += _first_party(value, key, names, seen)
        found += _imported_inside(function)
    if inspect.isclass(thing):
        found += [base for base in thing.__mro__[1:] if _is_ours(base)]
    return found


_MISSING = object()


def _functions_of(thing: Any) -> Iterator[types.FunctionType]:
    thing = inspect.unwrap(thing) if callable(thing) and not inspect.isclass(thing) else thing
    if isinstance(thing, types.FunctionType):
        yield thing
    elif inspect.isclass(thing):
        for member in vars(thing).values():
            inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            inner = getattr(inner, "func", inner)  # cached_property
            if isinstance(inner, types.FunctionType) and _is_ours(inner):
                yield inner


def _names(code: types.CodeType) -> set[str]:
    """Every global, attribute and free name a code object and those nested in it use."""
    names = set(code.co_names) | set(code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _first_party(value: Any, key: str, names: set[str], seen: dict[str, str]) -> list[Any]:
    if isinstance(value, types.ModuleType):
        if not value.__name__.startswith(_PACKAGE):
            return []
        inner = {name: getattr(value, name) for name in sorted(names) if hasattr(value, name)}
        return [
            thing
            for name, member in inner.items()
            for thing in _first_party(member, f"{value.__name__}:{name}", set(), seen)
        ]
    if callable(value) and hasattr(value, "__qualname__"):
        return [value] if _is_ours(value) else []
    if isinstance(value, functools.partial):
        return _first_party(value.func, key, names, seen)
    return _constant(value, key, seen)


def _constant(value: Any, key: str, seen: dict[str, str]) -> list[Any]:
    """Record a module-level constant; registries (containers of functions) are followed."""
    if isinstance(value, _PLAIN):
        seen[key] = repr(value)
    elif isinstance(value, re.Pattern):
        seen[key] = f"{value.pattern!r} {value.flags}"
    elif isinstance(value, Mapping):
        inner = [_constant_or_code(item, f"{key}[{name!r}]", seen) for name, item in value.items()]
        return [thing for things in inner for thing in things]
    elif isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        inner = [_constant_or_code(item, f"{key}[{i}]", seen) for i, item in enumerate(items)]
        return [thing for things in inner for thing in things]
    return []


def _constant_or_code(value: Any, key: str, seen: dict[str, str]) -> list[Any]:
    if callable(value) and hasattr(value, "__qualname__"):
        return [value] if _is_ours(value) else []
    return _constant(value, key, seen)


def _imported_inside(function: types.FunctionType) -> list[Any]:
    """First-party things that a function imports in its own body; a lambda cannot import."""
    if function.__name__ == "<lambda>":
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
            module = __import__(node.module or "", fromlist=["_"])
            members = [getattr(module, alias.name, None) for alias in node.names]
            found += [m for m in members if callable(m) and _is_ours(m)]
    return found


def _is_ours(thing: Any) -> bool:
    module = getattr(thing, "__module__", "") or ""
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    # Methods that dataclasses generate have no source of their own; the class's source says it all.
    generated = code is not None and code.co_filename.startswith("<")
    return (module == _PACKAGE or module.startswith(_PACKAGE + ".")) and not generated
