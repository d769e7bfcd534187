"""Called once at the end of a refresh, whoever ran it."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rag_assets.config import KnowledgeBaseConfig
from rag_assets.costs import Budget, Ledger
from rag_assets.errors import RagError
from rag_assets.notify import events
from rag_assets.notify.base import Channel, Event
from rag_assets.notify.outbox import Outbox
from rag_assets.operations.snapshot import Snapshot
from rag_assets.refresh.receipt import Receipts

log = logging.getLogger(__name__)


def refresh_ended(
    config: KnowledgeBaseConfig,
    run_id: str | None,
    failure: str | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Record a failure in the receipt, and tell people what the refresh came to.

    failure: why the refresh ended with an error, in one line; None when it ended by itself, also
    where the gate refused or a guard held. Never raises: a message that cannot be sent, or made,
    must not fail a refresh that is over.
    """
    try:
        if failure is not None and run_id is not None:
            Receipts(config.storage).record(run_id, "failure", failure)
        if config.notify.active:
            _announce(config, run_id, failure, clock)
    except Exception as error:  # noqa: BLE001  the refresh is over, whatever goes wrong here
        log.warning("nobody was told how the refresh ended: %s: %s", type(error).__name__, error)


def deliver_waiting(config: KnowledgeBaseConfig, clock: Callable[[], float] = time.time) -> int:
    """Send the messages that are due; returns how many still wait. Never raises."""
    if not config.notify.active:
        return 0
    try:
        return open_outbox(config, clock).flush()
    except (RagError, OSError) as error:
        log.warning("messages wait: %s", error)
        return 0


def _announce(
    config: KnowledgeBaseConfig,
    run_id: str | None,
    failure: str | None,
    clock: Callable[[], float],
) -> None:
    box = open_outbox(config, clock)
    if failure is not None:
        standing = standing_events(config, [], clock())
        budget = [event for event in standing if event.kind == "budget"]
        box.announce([events.of_failure(config, run_id, failure), *budget], ["failed", "budget"])
        return
    parts = Receipts(config.storage).parts(run_id) if run_id else {}
    found = list(events.of_refresh(config, run_id or "", parts))
    found += standing_events(config, parts.get("quarantined", []), clock())
    box.announce(found, events.LASTING)


def standing_events(
    config: KnowledgeBaseConfig, quarantined: list[dict[str, Any]], now: float
) -> list[Event]:
    """What holds whether or not a refresh ran: quarantine, silence, a budget near its end."""
    states = Snapshot(config).sources()
    moment = datetime.fromtimestamp(now, UTC)
    standing = Budget(config.costs, Ledger(config.storage), lambda: moment).standing()
    found = events.of_sources(config, states, quarantined, now)
    return [*found, *events.of_budget(standing)]


def open_outbox(config: KnowledgeBaseConfig, clock: Callable[[], float] = time.time) -> Outbox:
    """The outbox of a knowledge base with the channels it configures."""
    return Outbox(config.storage, config.name, config.notify, _channels(config), clock)


def _channels(config: KnowledgeBaseConfig) -> list[Channel]:
    notify = config.notify
    found: list[Channel] = []
    if notify.slack is not None and notify.slack.active:
        from rag_assets.notify.slack import SlackChannel

        found.append(SlackChannel(notify.slack))
    if notify.email is not None:
        from rag_assets.notify.mail import EmailChannel

        found.append(EmailChannel(notify.email))
    if notify.webhook is not None and notify.webhook.url:
        from rag_assets.notify.webhook import WebhookChannel

        found.append(WebhookChannel(notify.webhook))
    return found
