"""The command that exports accepted answers for fine-tuning."""

from rag_assets.cli.app import ConfigOption, DebugOption, JsonOption, command, note, print_json, say
from rag_assets.config import load_config


@command("instruct-dataset")
def instruct_dataset(
    config: ConfigOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Export accepted questions and answers with their passages, as Parquet and JSONL."""
    from rag_assets.refresh.pipeline import Pipeline
    from rag_assets.training.dataset import make_dataset

    found = make_dataset(Pipeline(load_config(config)))
    if as_json:
        print_json(found.as_json())
        return
    for side, count in found.examples.items():
        say(f"{side:<10} {count:>6} examples about {found.documents[side]} documents")
    for licence, count in found.licences.items():
        say(f"  licence {licence}: {count}")
    if found.with_pii:
        say(f"  with personal data: {found.with_pii}")
    for reason, count in found.left_out.items():
        say(f"  left out, {reason}: {count}")
    say(f"{found.made} made, {found.kept} taken over, from index version {found.index_version}.")
    if not sum(found.examples.values()):
        note(
            "nothing to export: give eval queries an answer, or keep answers that people judge"
            " (service.audit.answers: text)"
        )
    say(found.directory)
