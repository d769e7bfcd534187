"""Telling people what became of a refresh: Slack, email, webhooks; one message an event."""

from rag_assets.notify.after import deliver_waiting, refresh_ended

__all__ = ["deliver_waiting", "refresh_ended"]
