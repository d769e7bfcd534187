"""Telling people what became of a refresh: Slack, email, webhooks; one message an event."""

from rag_assets.notify.after import refresh_ended

__all__ = ["refresh_ended"]
