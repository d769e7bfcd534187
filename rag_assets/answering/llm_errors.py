"""What went wrong with a language model, in one sentence without secrets."""

import asyncio
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from rag_assets.config import LlmConfig

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_SECRET = re.compile(
    r"(?:sk|pk|gsk|xai|key|AIza)[-_]?[A-Za-z0-9_\-*.]{8,}|(?i:bearer)\s+\S+"
    r"|(?i:api[-_ ]?key)\s*[=:]?\s*\S+"
)
_SECRET_NAME = re.compile(r"(?:_|^)(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$")
_SHORTEST_SECRET = 8  # characters of an environment variable's value; less is `true` or `none`
_WRAPPING = re.compile(r"^(?:(?:litellm\.)?\w+(?:Error|Exception)\s*[:-]\s*)+")
_DETAIL = 160  # characters of a provider's own words


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure: whether it may pass by itself, and after how many seconds if the server says."""

    text: str
    passing: bool
    retry_after: float | None = None


def problem_of(error: Exception, model: str, config: LlmConfig) -> Problem:
    """What an exception of litellm or of a deadline means."""
    at = f" at {_address(config.api_base)}" if config.api_base and model == config.model else ""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Problem(
            f"{model}{at}: no reply within the time allowed; raise llm.timeout or"
            " llm.first_token_timeout, or choose a faster model",
            passing=True,
        )
    status = getattr(error, "status_code", None)
    kind = type(error).__name__
    detail = _scrubbed(str(getattr(error, "message", "") or error), config)
    if "Missing credentials" in detail or "api_key client option" in detail:
        return Problem(f"{model}: no API key; set llm.api_key: ${{YOUR_VARIABLE}}", passing=False)
    if kind == "ContextWindowExceededError":
        return Problem(f"{model}: the prompt is too long; lower llm.max_context_tokens", False)
    if status in (401, 403):
        return Problem(
            f"{model}{at}: the credentials were refused ({status}); check llm.api_key or the"
            " provider's environment variable",
            passing=False,
        )
    if status == 404:
        return Problem(f"{model}{at}: no such model (404); check llm.model", passing=False)
    if status == 429:
        after = _retry_after(error)
        later = "" if after is None else f", retry after {after:g} s"
        return Problem(f"{model}{at}: rate limit reached (429{later})", True, after)
    if status == 408 or kind == "Timeout":
        return Problem(f"{model}{at}: timed out (408); raise llm.timeout", passing=True)
    shown = f"{model}{at}: failed ({status or kind}): {detail}"
    return Problem(shown, status is None or status in _PASSING, _retry_after(error))


def _retry_after(error: Exception) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _scrubbed(text: str, config: LlmConfig) -> str:
    """The text on one line without keys."""
    for secret in _secrets(config):
        text = text.replace(secret, "…")
    return _WRAPPING.sub("", _SECRET.sub("…", " ".join(text.split())))[:_DETAIL]


def _secrets(config: LlmConfig) -> list[str]:
    """What no sentence may hold, longest first: one may be a part of another."""
    found = [config.api_key or ""] if config.api_key != "none" else []
    if config.api_base:
        found.append(urlsplit(config.api_base).password or "")
    environment = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    found += [value for value in environment if len(value) >= _SHORTEST_SECRET]
    return sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True)


def _address(url: str) -> str:
    """A URL without the user and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
