"""From a change at a source to the moment it is live."""

import os
import time

from rag_assets.operations.freshness import check_freshness, source_states
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import document


def found(small, now):
    pipeline = Pipeline(small.configure())
    sources = pipeline.config.sources
    states = source_states(pipeline.lake, sources, pipeline.versions.promotions())
    return check_freshness(states, sources, now)


def test_a_source_that_is_late_or_silent_is_told(small):
    small.fill(3)
    small.refresh()
    assert found(small, time.time()).summary == "no change was followed yet"
    file = small.write("late.md", document("lateness"))
    small.refresh()
    quick = found(small, time.time())
    assert quick.passed
    [row] = quick.details["sources"]
    assert 0 < row["longest_lag_seconds"] == round(quick.value, 1) < 600
    [source] = small.settings["sources"]
    small.settings["sources"] = [{**source, "silent_hours": 2, "max_lag_minutes": 0.0001}]
    late = found(small, time.time() + 3 * 3600)
    assert not late.passed
    assert "docs: a change took" in late.summary
    assert "docs: nothing changed for 3.0 hours, silent_hours is 2" in late.summary
    assert os.path.getmtime(file) < time.time()


def test_what_is_older_than_since_does_not_count_until_it_is_asked_for(small):
    small.fill(2)
    old = small.write("old.md", document("history"))
    os.utime(old, (1_500_000_000, 1_500_000_000))
    [source] = small.settings["sources"]
    small.configure(sources=[{**source, "since": "2020-01-01"}])
    assert small.refresh()["documents"]["listed"] == 2
    small.configure(sources=[{**source, "since": "2010-01-01"}])
    counts = small.refresh()["documents"]
    assert (counts["listed"], counts["added"], counts["unchanged"]) == (3, 1, 2)
