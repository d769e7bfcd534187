"""What keys, tokens and passwords look like. They are always looked for."""

import math
import re
from collections import Counter

from rag_assets.cleaning.pii.recognisers import Recogniser

_PLACEHOLDER = re.compile(
    r"(?i)x{3,}|\*{3}|\.{3}|<|>|\$[{(A-Z]|\{\{|your|example|sample|dummy|placeholder|changeme|redact|"
    r"password|secret|test|foo|bar|none|null|true|false|os\.|getenv|env\["
)


def _is_random(text: str) -> bool:
    """Whether a value looks made by chance: digits among letters, and 3 bits a character."""
    if _PLACEHOLDER.search(text) or not re.search(r"\d", text) or not re.search(r"[a-zA-Z]", text):
        return False
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts) >= 3.0


def _is_real(text: str) -> bool:
    return not _PLACEHOLDER.search(text)


def _secret(kind: str, pattern: str, *hints: str) -> Recogniser:
    return Recogniser(f"secret_{kind}", re.compile(pattern), hints=hints)


SECRETS: tuple[Recogniser, ...] = (
    _secret(
        "private_key",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[^-]|-(?!----)){1,20000}(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
        "PRIVATE KEY",
    ),
    _secret("aws_key", r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])", "AKIA", "ASIA"),
    _secret(
        "github_token",
        r"(?<!\w)(?:gh[pousr]_\w{36,255}|github_pat_\w{40,255})(?!\w)",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
    ),
    _secret("gitlab_token", r"(?<!\w)glpat-[\w-]{20,}(?!\w)", "glpat-"),
    _secret("slack_token", r"(?<!\w)xox[abeoprs]-[\w-]{10,}(?!\w)", "xox"),
    _secret(
        "slack_webhook", r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+", "hooks.slack.com"
    ),
    _secret("google_key", r"(?<!\w)AIza[\w-]{35}(?![\w-])", "AIza"),
    _secret("stripe_key", r"(?<!\w)[rs]k_live_[A-Za-z0-9]{16,}(?!\w)", "k_live_"),
    _secret("api_key", r"(?<![\w-])sk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}(?![\w-])", "sk-"),
    _secret("npm_token", r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)", "npm_"),
    _secret("pypi_token", r"(?<!\w)pypi-AgE[\w-]{50,}", "pypi-AgE"),
    _secret("jwt", r"(?<!\w)eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}(?![\w-])", "eyJ"),
    Recogniser(
        "secret_in_url",
        re.compile(r"://[^\s:/@]{1,64}:([^\s:/@]{3,128})@[\w.-]+"),
        _is_real,
    ),
    Recogniser(
        "secret_assigned",
        re.compile(
            r"(?i)(?:password|passwd|pwd|secret|api_?key|auth_?token|access_?token|"
            r"access_?key|private_?key|client_?secret)\w{0,16}[\"']?\s{0,4}(?::=|=>|[:=])\s{0,4}"
            r"[\"']?([^\s\"'`,;]{8,256})"
        ),
        _is_random,
    ),
)
