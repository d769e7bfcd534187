"""Receivers of messages, as in the tests of `notify`."""

from rag_assets_tests.notify.conftest import receiver

__all__ = ["receiver"]
