"""News once, reminders seldom, nothing lost: on a clock that the test turns."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rag_assets.config import NotifyConfig
from rag_assets.notify.base import Event, Message, Undelivered
from rag_assets.notify.outbox import Outbox

HOUR = 3600.0


@dataclass
class Channel:
    """Remembers what it was given; down while `down`; `wrong` and `killed` break in other ways."""

    name: str = "test"
    down: bool = False
    broken: bool = False
    wrong: bool = False
    killed: bool = False
    tries: int = 0
    got: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.tries += 1
        if self.killed:
            raise KeyboardInterrupt
        if self.wrong:
            raise TypeError("a mistake")
        if self.down or self.broken:
            raise Undelivered("test: no", passing=self.down)
        self.got.append(message)

    @property
    def titles(self) -> list[str]:
        return [message.event.title for message in self.got]


class Desk:
    """An outbox with a clock."""

    def __init__(self, root: Path, *channels: Channel, **settings: float) -> None:
        self.now = 1_790_000_000.0
        self.config = NotifyConfig(**settings)  # type: ignore[arg-type]
        self.root, self.channels = root, channels

    def box(self) -> Outbox:
        """A new one each time: what it knows lies on disk."""
        return Outbox(self.root, "kb", self.config, self.channels, lambda: self.now)

    def see(self, *events: Event, after: float = 0.0, seen: tuple[str, ...] = ("held",)) -> None:
        self.now += after
        self.box().announce(events, seen)


def held(state: str = "a") -> Event:
    return Event("held", "held", state, f"deletions are held ({state})")


def promoted(version: int) -> Event:
    return Event("promoted", "promoted", str(version), f"version {version}", lasting=False)


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def desk(tmp_path: Path, channel: Channel) -> Desk:
    return Desk(tmp_path, channel)


def test_what_lasts_is_told_once_reminded_daily_and_resolved(desk: Desk, channel: Channel) -> None:
    for _ in range(50):
        desk.see(held(), after=60)
    assert channel.titles == ["deletions are held (a)"]
    desk.see(held(), after=24 * HOUR)
    assert channel.titles == ["deletions are held (a)"] * 2
    desk.see(after=HOUR)
    desk.see(after=HOUR)
    assert channel.titles[2:] == ["resolved: deletions are held (a)"]


def test_a_new_state_is_news_after_the_quiet_time(desk: Desk, channel: Channel) -> None:
    desk.see(held("a"))
    desk.see(held("b"), after=60)
    desk.see(held("c"), after=60)
    assert channel.titles == ["deletions are held (a)"]
    desk.see(held("c"), after=600)
    assert channel.titles == ["deletions are held (a)", "deletions are held (c)"]
    assert channel.got[1].event.lines == ("and 1 more like this since 14:14 UTC",)


def test_a_flapping_source_is_no_storm(desk: Desk, channel: Channel) -> None:
    for _ in range(120):
        desk.see(held(), after=30)
        desk.see(after=30)
    assert len(channel.got) <= 2 * (7200 / 600) + 2
    assert channel.titles[:2] == ["deletions are held (a)", "resolved: deletions are held (a)"]


def test_many_promotions_are_few_messages(desk: Desk, channel: Channel) -> None:
    for version in range(1, 61):
        desk.see(promoted(version), after=10, seen=())
    assert channel.titles == ["version 1"]
    desk.see(after=600, seen=())
    assert channel.titles == ["version 1", "version 60"]
    assert channel.got[1].event.lines[0].startswith("and 58 more like this")


def test_a_receiver_that_is_down_gets_it_later_and_once(tmp_path: Path) -> None:
    up, down = Channel("up"), Channel("down", down=True)
    desk = Desk(tmp_path, up, down)
    desk.see(held())
    assert (up.titles, down.titles, desk.box().waiting()) == (["deletions are held (a)"], [], 1)
    desk.see(held(), after=5)
    down.down = False
    desk.now += 60
    assert desk.box().flush() == 0
    assert (len(up.got), len(down.got)) == (1, 1)
    assert down.got[0].id == up.got[0].id


def test_one_try_is_enough_to_see_that_a_receiver_is_down(tmp_path: Path) -> None:
    up, down = Channel("up"), Channel("down", down=True)
    desk = Desk(tmp_path, up, down)
    desk.see(held(), promoted(1))
    assert (down.tries, len(up.got)) == (1, 2)
    desk.now += 40
    assert desk.box().flush() == 2
    assert down.tries == 2
    down.down = False
    assert desk.box().flush() == 2, "not due yet"
    desk.now += 80
    assert desk.box().flush() == 0
    assert (down.titles, len(up.got)) == (up.titles, 2)


def test_a_channel_with_a_mistake_does_not_silence_the_others(tmp_path: Path) -> None:
    wrong, right = Channel("wrong", wrong=True), Channel("right")
    desk = Desk(tmp_path, wrong, right)
    desk.see(held())
    assert right.titles == ["deletions are held (a)"]
    assert desk.box().waiting() == 1, "what a mistake kept back is not lost"
    wrong.wrong = False
    desk.now += 40
    assert desk.box().flush() == 0
    assert wrong.titles == right.titles == ["deletions are held (a)"]


def test_a_process_that_is_killed_while_it_sends_loses_nothing(tmp_path: Path) -> None:
    killed, after = Channel(killed=True), Channel()
    with pytest.raises(KeyboardInterrupt):
        Desk(tmp_path, killed).see(promoted(1))
    Desk(tmp_path, after).see()
    assert after.titles == ["version 1"]


@pytest.mark.parametrize("content", ["", "null", "[]", '{"subjects": {"held": {"new": 1}}}'])
def test_a_state_that_cannot_be_read_costs_a_repeated_message(
    desk: Desk, channel: Channel, content: str
) -> None:
    desk.see(held())
    (desk.root / "notify" / "state.json").write_text(content)
    desk.see(held(), after=60)
    assert channel.titles == ["deletions are held (a)"] * 2


def test_a_receiver_that_says_no_is_not_asked_again(desk: Desk, channel: Channel) -> None:
    channel.broken = True
    desk.see(held())
    assert desk.box().waiting() == 0


def test_old_news_is_given_up(desk: Desk, channel: Channel) -> None:
    channel.down = True
    desk.see(held())
    for _ in range(100):
        desk.now += HOUR
        desk.box().flush()
    assert desk.box().waiting() == 0


def test_what_ended_before_it_could_be_told_is_not_told(desk: Desk, channel: Channel) -> None:
    channel.down = True
    desk.see(held())
    channel.down = False
    desk.see(after=60)
    assert channel.titles == []


def test_kinds_that_are_not_wanted_stay_silent(tmp_path: Path, channel: Channel) -> None:
    desk = Desk(tmp_path, channel, events=["refused"])  # type: ignore[arg-type]
    desk.see(held())
    desk.see(promoted(1))
    desk.see()
    assert channel.titles == []
