import json
import logging
import sys

from rag_assets.service.logs import JsonLines, request_id


def test_a_record_is_one_json_line_with_its_request() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        caught = sys.exc_info()
    record = logging.LogRecord("rag", logging.ERROR, "f", 1, "failed: %s", ("é\u2028",), caught)
    token = request_id.set("r1")
    line = JsonLines().format(record)
    request_id.reset(token)
    assert len(line.splitlines()) == 1
    found = json.loads(line)
    assert (found["level"], found["logger"], found["request_id"]) == ("error", "rag", "r1")
    assert found["message"] == "failed: é\u2028"
    assert found["exception"].endswith("ValueError: two\nlines")
    assert "request_id" not in json.loads(JsonLines().format(record))
