import json
from contextlib import contextmanager

import pytest
from pydantic import ValidationError

from rag_assets.config import HttpSettings, TelegramConfig
from rag_assets.errors import SourceError
from rag_assets.sources import open_source
from rag_assets_tests.sources import site
from rag_assets_tests.sources.contract import (
    DeletingSourceContract,
    ReachesTheSearch,
    SourceContract,
)
from rag_assets_tests.sources.contract_http import HttpContract, slept
from rag_assets_tests.sources.site import Answer, as_json

__all__ = ["slept"]
CHANNEL = -1001234567890
UPDATES = "/botsecret/getUpdates"


class Bot:
    """Updates are forgotten once later ones are asked for, as the real one does."""

    def __init__(self, served, root):
        self.site = served
        self.root = root
        self.updates = []
        self.numbers = {}
        self.down = False
        served.apis[UPDATES] = self.answer

    def config(self, **settings):
        chosen = {"token": "secret", "chats": ["@news"]} | settings
        return TelegramConfig(
            name="t",
            type="telegram",
            url=self.site.url(""),
            path=str(self.root / "kept"),
            http=HttpSettings(allow_private=True),
            **chosen,
        )

    def source(self, **settings):
        return open_source(self.config(**settings))

    def answer(self, query, sent):
        if self.down:
            return Answer(status=404)
        offset = int(query.get("offset", 0))
        self.updates = [update for update in self.updates if update["update_id"] >= offset]
        return as_json({"ok": True, "result": self.updates[:2]})

    def send(self, number, text, at=1000, kind="channel_post", username="News", **more):
        chat = {"id": CHANNEL, "title": "The News", "username": username}
        message = {"message_id": number, "chat": chat, "date": at, "text": text, **more}
        self.numbers["update"] = self.numbers.get("update", 0) + 1
        self.updates.append({"update_id": self.numbers["update"], kind: message})

    def export(self, *messages, kind="public_channel"):
        file = self.root / "result.json"
        found = {"id": 1234567890, "name": "The News", "type": kind, "messages": messages}
        file.write_text(json.dumps(found))
        return str(file)


@pytest.fixture
def bot(tmp_path):
    with site.serving() as served:
        yield Bot(served, tmp_path)


def message(number, text, at=1000, edited=None):
    said = {"id": number, "type": "message", "date_unixtime": str(at), "text": text}
    return said | ({"edited_unixtime": str(edited)} if edited else {})


class BotWorld:
    """Names become messages; a name is at the beginning of its text, and so in its key."""

    def __init__(self, bot):
        self.bot = bot
        self.site = bot.site
        self.numbers = {}

    def config(self):
        return self.bot.config()

    def put(self, name, text):
        known = name in self.numbers
        number = self.numbers.setdefault(name, f"{len(self.numbers) + 1}-{name}")
        edit = {"edit_date": 1000 + len(self.bot.site.requests)} if known else {}
        kind = "edited_channel_post" if known else "channel_post"
        self.bot.send(number, text, kind=kind, **edit)

    def delete(self, name):
        """The Bot API does not tell of it."""

    @contextmanager
    def broken(self):
        self.bot.down = True
        yield
        self.bot.down = False


class TestBot(SourceContract, HttpContract, ReachesTheSearch):
    left = ("alpha", "beta", "gamma")  # it never tells of what was deleted

    @pytest.fixture
    def world(self, bot):
        return BotWorld(bot)


class ExportWorld:
    def __init__(self, bot):
        self.bot = bot
        self.messages = {}
        self.edits = 1000
        self.write()

    def config(self):
        return self.bot.config(token="", chats=[], exports=[str(self.bot.root / "result.json")])

    def write(self):
        self.bot.export(*(message(f"{n}", t, 1000, at) for n, (t, at) in self.messages.items()))

    def put(self, name, text):
        self.edits += 1
        self.messages[name] = (text, self.edits)
        self.write()

    def delete(self, name):
        del self.messages[name]
        self.write()

    @contextmanager
    def broken(self):
        (self.bot.root / "result.json").write_text('{"messages": [{"id": 1')
        yield
        self.write()


class TestExport(DeletingSourceContract, ReachesTheSearch):
    @pytest.fixture
    def world(self, bot):
        return ExportWorld(bot)


def test_messages_of_chosen_chats_and_their_edits(bot):
    bot.send(1, "first")
    bot.send(2, "from a stranger", username="other")
    bot.send(3, "", caption="under a picture")
    bot.send(4, "", sticker={})
    bot.send(1, "first, edited", kind="edited_channel_post", edit_date=2000)
    source = bot.source()
    found = {entry.key: entry for entry in source.scan()}
    assert sorted(found) == [f"{CHANNEL}/1", f"{CHANNEL}/3"]
    entry = found[f"{CHANNEL}/1"]
    assert (entry.uri, entry.title) == ("https://t.me/News/1", "The News")
    assert entry.metadata["sent_at"] == "1970-01-01T00:16:40+00:00"
    assert source.fetch(entry) == b"first, edited"
    assert bot.updates == []


def test_updates_are_let_go_only_when_they_are_kept(bot):
    for number in range(5):
        bot.send(number, f"text {number}")
    assert len(list(bot.source().scan())) == 5
    offsets = [path.partition("offset=")[2].partition("&")[0] for path in bot.site.requests]
    assert offsets == ["", "3", "5", "6"]
    assert len(list(bot.source().scan())) == 5


def test_exports_and_the_bot_agree_on_what_a_message_is(bot):
    export = bot.export(
        message(1, "old"),
        message(2, ["a ", {"type": "bold", "text": "rich"}, " text"]),
        message(3, "edited later", 1000, 3000),
        {"id": 4, "type": "service", "text": "x joined"},
    )
    bot.send(1, "new", kind="edited_channel_post", edit_date=2000)
    bot.send(3, "as it was", kind="edited_channel_post", edit_date=2500)
    source = bot.source(exports=[export])
    entries = list(source.scan())
    assert sorted(entry.key for entry in entries) == [f"{CHANNEL}/{number}" for number in (1, 2, 3)]
    texts = {
        entry.key.partition("/")[2]: bot.source(exports=[export]).fetch(entry) for entry in entries
    }
    assert texts == {"1": b"new", "2": b"a rich text", "3": b"edited later"}


def test_the_token_is_in_the_address_and_never_in_an_error(bot):
    bot.down = True
    with pytest.raises(SourceError) as caught:
        list(bot.source().scan())
    assert "/bot***/getUpdates" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValidationError, match="needs chats"):
        TelegramConfig(name="t", type="telegram", token="x")
