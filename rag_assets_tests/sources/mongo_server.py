"""What a change stream of a MongoDB server looks like to its client, on a loopback port.

Speaks the wire protocol to the real client: find in batches, change streams with resume tokens,
`updateLookup`, and the error that says that the history is gone.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import bson
from bson.codec_options import CodecOptions

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


class Failure(Exception):
    """An answer with an error code."""

    def __init__(self, code, name):
        super().__init__(name)
        self.answer = {"ok": 0, "code": code, "codeName": name, "errmsg": name}


class Mongo(socketserver.ThreadingTCPServer):
    """One collection, kb.notes, and the log of its changes."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.documents: dict = {}
        self.log: list[dict] = []
        self.first = 0  # changes before this one are forgotten
        self.cursors: dict[int, dict] = {}
        self.down = False
        self.commands: list[str] = []

    @property
    def url(self) -> str:
        host, port = self.server_address
        return f"mongodb://reader:hunter2@{host}:{port}/?directConnection=true&authSource=none"

    def insert(self, identity, **fields):
        self.documents[identity] = {"_id": identity, **fields}
        self._changed("insert", identity)

    def update(self, identity, **fields):
        self.documents[identity] |= fields
        self._changed("update", identity)

    def delete(self, identity):
        del self.documents[identity]
        self._changed("delete", identity)

    def drop(self):
        self.documents.clear()
        self.log.append({"operationType": "drop"})
        self.log.append({"operationType": "invalidate"})

    def _changed(self, kind, identity):
        change = {"operationType": kind, "documentKey": {"_id": identity}}
        if kind == "insert":
            change["fullDocument"] = dict(self.documents[identity])
        self.log.append(change)

    def answer(self, command: dict) -> dict:
        (name, value), *_ = command.items()
        self.commands.append(name)
        if name.lower() in {"hello", "ismaster"}:
            return {
                "ismaster": True,
                "isWritablePrimary": True,
                "maxBsonObjectSize": 16 << 20,
                "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000,
                "minWireVersion": 0,
                "maxWireVersion": 21,
                "setName": "rs",
                "readOnly": False,
            }
        if self.down and name in {"aggregate", "find", "getMore"}:
            raise Failure(13, "Unauthorized")
        if name == "find":
            return self._opened(list(self.documents.values()), "firstBatch", None)
        if name == "aggregate":
            start = self._start(command["pipeline"][0]["$changeStream"])
            cursor = {
                "at": start,
                "lookup": "fullDocument" in command["pipeline"][0]["$changeStream"],
            }
            return self._opened([], "firstBatch", cursor)
        if name == "getMore":
            return self._more(value, command.get("batchSize", 101))
        if name == "saslStart":
            raise Failure(18, "AuthenticationFailed")
        if name not in {"killCursors", "endSessions", "ping"}:
            raise Failure(59, "CommandNotFound")
        return {}

    def _start(self, stage: dict) -> int:
        if "resumeAfter" not in stage:
            return len(self.log)
        at = int(stage["resumeAfter"]["_data"], 16)
        if at < self.first:
            raise Failure(286, "ChangeStreamHistoryLost")
        return at

    def _opened(self, found: list, batch: str, cursor: dict | None) -> dict:
        number = len(self.cursors) + 1
        self.cursors[number] = cursor or {"rest": found[2:]}
        open_ended = cursor is not None or found[2:]
        answer = {"id": bson.Int64(number if open_ended else 0), "ns": "kb.notes", batch: found[:2]}
        if cursor is not None:
            answer["postBatchResumeToken"] = {"_data": f"{cursor['at']:08x}"}
        return {"cursor": answer}

    def _more(self, number: int, size: int) -> dict:
        cursor = self.cursors[number]
        if "rest" in cursor:
            found, cursor["rest"] = cursor["rest"][:2], cursor["rest"][2:]
            last = 0 if not cursor["rest"] else number
            return {"cursor": {"id": bson.Int64(last), "ns": "kb.notes", "nextBatch": found}}
        found = []
        for place in range(cursor["at"], min(len(self.log), cursor["at"] + size)):
            change = {"_id": {"_data": f"{place + 1:08x}"}, **self.log[place]}
            if cursor["lookup"] and change["operationType"] == "update":
                change["fullDocument"] = self.documents.get(change["documentKey"]["_id"])
            found.append(change)
        cursor["at"] += len(found)
        token = {"_data": f"{cursor['at']:08x}"}
        ended = bool(found) and found[-1]["operationType"] == "invalidate"
        batch = {"id": bson.Int64(0 if ended else number), "ns": "kb.notes", "nextBatch": found}
        return {"cursor": batch | {"postBatchResumeToken": token}}


class _Connection(socketserver.StreamRequestHandler):
    server: Mongo

    def handle(self) -> None:
        while len(head := self.rfile.read(16)) == 16:
            length, number, _, kind = struct.unpack("<iiii", head)
            body = self.rfile.read(length - 16)
            if kind == OP_QUERY:
                at = body.index(0, 4) + 1 + 8
                found = bson.encode({"ok": 1, **self.server.answer(bson.decode(body[at:]))})
                said = struct.pack("<iqii", 8, 0, 0, 1) + found
                self._send(OP_REPLY, number, said)
            else:
                command = bson.decode(body[5:], CodecOptions())
                try:
                    answer = {"ok": 1, **self.server.answer(command)}
                except Failure as failure:
                    answer = failure.answer
                self._send(OP_MSG, number, struct.pack("<i", 0) + b"\0" + bson.encode(answer))

    def _send(self, kind: int, answered: int, body: bytes) -> None:
        self.wfile.write(struct.pack("<iiii", len(body) + 16, 0, answered, kind) + body)


@contextmanager
def serving() -> Iterator[Mongo]:
    """The server, running."""
    server = Mongo()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
