"""What of a plan was run, read from the results."""

from hpml.formatting import counted, range_in_words
from hpml.lab.parts import DEVICES, DIAGNOSIS, NO_NORM, SUMMARY, TRAINING, WORKERS
from hpml.lab.tasks import Tasks, read_result
from hpml.records.run_record import RunRecord
from hpml.report.collect import collect


def what_ran(name: str, tasks: Tasks, announced: int) -> str:
    """In the words of the plan; of `announced` trainings those that are not left.

    Batches are counted from the samples in the records, not from what a command was given.
    """
    if name in (TRAINING, NO_NORM, DEVICES):
        left = sum(each for sweep, _, each in tasks.trainings if sweep == name)
        runs = [run.record for run in collect([tasks.folder / name])[0] if run.completed]
        if not runs or announced <= left:
            return ""
        epochs = range_in_words([len(record.epochs) for record in runs])
        batches = range_in_words([each for record in runs for each in _batches(record)])
        trainings = counted(announced - left, "training")
        several = "s" * (epochs != "1")
        return f"{trainings} of {epochs} epoch{several} of {batches} batch{'es' * (batches != '1')}"
    if name == SUMMARY:
        return counted(sum(task.is_done for task in tasks.summaries), "count")
    result = read_result(tasks.folder, name) or {}
    if name == DIAGNOSIS:
        return f"{len(result.get('diagnoses', ()))} numbers of workers diagnosed"
    assert name == WORKERS
    settings = result.get("settings", {})
    rounds = range_in_words([len(of.get("rounds", ())) for of in settings.values()])
    disturbed = len(result.get("disturbed_rounds") or ())
    of_these = f", {disturbed:,} disturbed" if disturbed else ""
    return f"{len(settings)} numbers of workers, {rounds} rounds{of_these}"


def _batches(record: RunRecord) -> list[int]:
    """Of each epoch, as far as it is known how large they are."""
    size = (record.config.get("data") or {}).get("batch_size")
    samples = (epoch.samples for epoch in record.epochs)
    return [-(-each // size) for each in samples if each and isinstance(size, int)]
