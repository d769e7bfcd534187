"""What to do about a check that did not pass, for the person who looks at it."""

from rag_assets.index.base import CheckOutcome

_UNDECIDED = "This check does not block."
_MORE = (
    "More queries decide it: `rag-assets evalset propose` drafts them, `rag-assets evalset review`"
    " accepts them."
)
_REFUSED = {
    "retrieval_quality": (
        "The worst queries below show what was expected and what came: mend the documents or the"
        " settings, or lower the floor under evaluation.gate where the new value is meant; then"
        " refresh again."
    ),
    "no_regression": (
        "The losses below are the queries that fell, with what came before: take the change back,"
        " or raise evaluation.gate.max_regression where it is meant; then refresh again."
    ),
    "known_items": (
        "The documents below are not found by their own words: look at how they were cut with"
        " `rag-assets explain URI`, mend them or the settings of chunking; then refresh again."
    ),
}


def advice(outcome: CheckOutcome) -> str:
    """The next step, in a sentence or two; empty where there is nothing to do."""
    if not outcome.decided:
        return f"{_UNDECIDED} {_MORE}" if "needs" in outcome.summary else _UNDECIDED
    if outcome.passed or outcome.name not in _REFUSED:
        return ""
    return f"The live version stays as it is. {_REFUSED[outcome.name]}"
