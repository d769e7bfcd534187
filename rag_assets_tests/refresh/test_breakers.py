"""Sources that fail are asked seldom; a person who asks is heard."""

from pathlib import Path

from rag_assets.config import load_config
from rag_assets.refresh.breakers import Breakers, is_local
from rag_assets.refresh.pipeline import Options, Pipeline
from rag_assets_tests.conftest import SmallBase


def test_a_breaker_opens_after_three_failures_and_longer_each_time(tmp_path: Path) -> None:
    now = [1_000_000.0]
    breakers = Breakers(tmp_path, lambda: now[0])
    waits = []
    for _ in range(10):
        breakers.failed("wiki", "status 503")
        waits.append(max(0.0, breakers.troubles()["wiki"].until - now[0]))
    assert waits == [0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert "failed 10 times in a row" in (breakers.why_open("wiki") or "")
    assert breakers.why_open("other") is None
    now[0] += 3601
    assert breakers.why_open("wiki") is None, "one listing is let through"
    breakers.worked("wiki")
    assert breakers.troubles() == {}
    breakers.failed("wiki", "status 503")
    assert breakers.why_open("wiki") is None


def test_a_source_that_is_dead_for_months_does_not_break_the_breaker(tmp_path: Path) -> None:
    breakers = Breakers(tmp_path, lambda: 0.0)
    for content in (
        '{"wiki": {"failures": 5000, "until": 0, "error": "x"}}',
        *("[1]", "null", '{"wiki": 1}', "{"),
    ):
        (tmp_path / "breakers.json").write_text(content)
        breakers.failed("wiki", "status 503")
        assert breakers.troubles()["wiki"].failures == (5001 if "5000" in content else 1)
        assert breakers.troubles()["wiki"].until == (3600 if "5000" in content else 0)


def test_a_source_behind_the_network_is_left_alone_while_its_breaker_is_open(
    small: SmallBase,
) -> None:
    small.fill(2)
    feed = {
        "name": "news",
        "type": "rest",
        "url": "http://127.0.0.1:9/records",
        "buckets": 1,
        "http": {"allow_private": True, "timeout": 0.2},
    }
    small.configure(sources=[*small.settings["sources"], feed])
    config = load_config(small.path)
    breakers = Breakers(config.storage)
    for _ in range(3):
        breakers.failed("news", "it was down")
    pipeline = Pipeline(config)
    docs, news = pipeline.list_sources(Options())
    assert docs.error is None
    assert "left alone until" in (news.error or "")
    [asked] = pipeline.list_sources(Options(sources=("news",), insist=True))
    assert "127.0.0.1:9" in (asked.error or "")
    assert breakers.troubles()["news"].failures == 4
    assert [is_local(source) for source in config.sources] == [True, False]
