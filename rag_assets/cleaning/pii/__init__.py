"""Personal data and secrets in texts: found by pattern and checksum, offline."""

from rag_assets.cleaning.pii.find import Finding, find
from rag_assets.cleaning.pii.policy import guarded, guarded_attributes, leaks, redacted_text

__all__ = ["Finding", "find", "guarded", "guarded_attributes", "leaks", "redacted_text"]
