from helpers.records import make_epoch
from hypothesis import given
from hypothesis import strategies as st

from hpml.records.epoch_lines import EpochLines, shown_times
from hpml.records.phases import TIMES


def test_the_epoch_table_has_aligned_columns_within_a_hundred() -> None:
    """Rows are as wide as the heading, whatever is missing or large."""
    metrics = {"train/loss": 1.5, "train/accuracy": 0.25, "val/loss": 0.1, "lr": 0.1}
    full, empty, table = make_epoch(0, **metrics), make_epoch(7), EpochLines()
    empty.samples_per_s = None
    huge = make_epoch(12, **metrics | {"train/loss": 157161088.0, "lr": 1.23456e-17})
    heading, row = table.lines(full)
    assert len(heading) <= 100
    for epoch in (full, empty, huge):
        assert [len(line) for line in table.lines(epoch)] == [len(heading)]
    metrics_shown = ["64", "1.5000", "25.00%", "0.1000", "–"]
    assert row.split() == ["0", "2.00", *["–"] * 5, *metrics_shown]


def test_what_is_not_a_whole_epochs_time_has_an_asterisk() -> None:
    """A partial epoch, and one that a resumed run goes on with."""
    epochs, table = [make_epoch(number) for number in range(3)], EpochLines()
    epochs[1].partial = epochs[2].resumed = True
    assert [table.lines(epoch)[-1].split()[0] for epoch in epochs] == ["0", "1*", "2*"]


def test_a_disturbed_epoch_has_a_mark_of_its_own() -> None:
    """Besides the asterisk; an epoch of an older record has none."""
    epochs, table = [make_epoch(number) for number in range(3)], EpochLines()
    epochs[1].interference, epochs[2].interference = {"disturbed": True}, {"disturbed": False}
    epochs[1].partial = True
    assert [table.lines(epoch)[-1].split()[0] for epoch in epochs] == ["0", "1!*", "2"]


@given(st.lists(st.floats(0, 1e4) | st.floats(0, 1e6), min_size=5, max_size=5))
def test_the_times_that_are_shown_add_up(parts: list[float]) -> None:
    """Exactly, whatever is rounded: in hundredths, of an epoch of hours in tenths or seconds."""
    epoch = make_epoch(0)
    epoch.time = dict(zip(TIMES, [sum(parts), *parts], strict=True))
    texts = shown_times(epoch.time)
    assert len(texts[0]) <= 8
    assert max(map(len, texts[1:])) <= 7
    unit = 10 ** len(texts[0].partition(".")[2])
    whole, *shown = (round(unit * float(text)) for text in texts)
    assert sum(shown) == whole
    assert abs(whole - unit * sum(parts)) <= 0.51
    assert all(abs(a - unit * b) < 1 for a, b in zip(shown, parts, strict=True))


def test_metrics_of_another_project_have_columns_of_their_own() -> None:
    """As many as there is place for; when one comes later, the heading is shown again, once."""
    epoch = make_epoch(3, **{"valid/f1": 0.5, "my_loss": 1.25, "x" * 80: 1.0})
    heading, row = EpochLines().lines(epoch)
    assert heading.endswith("samples/s valid/f1  my_loss")
    assert row.split()[-2:] == ["0.5", "1.25"]
    table = EpochLines()
    first, second = make_epoch(0, loss=1.0), make_epoch(1, loss=0.5, f1=0.75)
    assert len(table.lines(first)) == 2
    assert len(table.lines(first)) == 1
    heading, row = table.lines(second)
    assert heading.split()[-2:] == ["loss", "f1"]
    assert row.split()[-2:] == ["0.5", "0.75"]
    assert table.lines(first)[0].split()[-2:] == ["1", "–"]
