"""The lab's report: a section for each part, made of what lies in the machines' folders."""

import html
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.labs import FACTS, keep, search_result
from helpers.pages import EVIL, read
from helpers.records import MACHINE, make_run, shared_epoch
from hydra import compose, initialize_config_dir

from hpml.config.checks import check
from hpml.config.command_line import arranged
from hpml.config.conf import find_conf
from hpml.diagnosis.wording import Diagnosis, compare
from hpml.lab.parts import OPTIMIZERS, PARTS
from hpml.lab.report import results_by_part
from hpml.lab.report.page import Heading, Section, write_page, write_report
from hpml.lab.report.results_by_part import draw_for
from hpml.report.collect import collect
from hpml.report.tables import Cell, Table
from hpml.trials.pace import Pace

ENVIRONMENT = MACHINE | {"cpu": "AMD EPYC", "memory_gib": 23.5, "os": "Linux", "hpml": "0.1.0"}
ENVIRONMENT |= {"python": "3.11.7", "torch": "2.14.1", "lightning": "2.6.6"}
COMMAND = "python -m hpml.train -m optimizer=sgd"
Whole = tuple[Path, dict[str, str]]
PICTURE = r"\]\((\S+\.png)\)"
COUNTED: dict[str, Any] = FACTS | {
    "gradients": 11_173_962,
    "optimizer": {"name": "SGD", "state_elements": 11_173_962},
    "layers": [{"name": "a", "type": "Conv2d", "parameters": 1728}],
    "batch": "8 samples: random",
    "nonzero_by_seed": {"0": 11_000_000, "1": 11_000_100},
    "nonzero_by_optimizer": {"SGD": 11_000_000, "Adam": 11_000_000},
    "code": "import re\n\n\ndef count_convolutions(network):\n    return 1\n\n\n"
    "def count_trainable(network):\n    return 2\n",
}


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of pictures that would be drawn, which takes most of a report's time."""
    names: list[str] = []
    monkeypatch.setattr(results_by_part, "draw_for", lambda *of: names.append(of[0]) or [])
    picture = {"name": "p", "caption": "", "svg": ""}
    monkeypatch.setattr(results_by_part, "draw_workers", lambda *of: picture)
    return names


def trained(folder: Path, name: str, loss: Any = (2, 1), device: str = "cpu", **more: Any) -> None:
    """A run whose loss goes from one to the other, and whose accuracy is half of what it lacks."""
    environment = ENVIRONMENT | {"device": device, "host": folder.parent.name}
    record = make_run(folder, name, epochs=5, environment=environment, **more)
    record.config |= {"device": {"cuda": "gpu"}.get(device, device), "monitor": "train/accuracy"}
    record.choices |= {"model": "resnet18", "data": "cifar10"}
    for epoch in record.epochs:
        reached = loss[0] + (loss[1] - loss[0]) * epoch.epoch / 4
        epoch.metrics = {"train/loss": reached, "train/accuracy": 0.5 - reached / 8}
    record.write(folder / name)


def diagnosed(folder: Path, counts: tuple[int, int], step_s: tuple[float, float]) -> None:
    """Two numbers of workers with these steps, most of which is loading."""
    diagnoses = {}
    for count, seconds in zip(counts, step_s, strict=True):
        whole = [Pace(seconds * n, seconds * n / 2, None) for n in (0.99, 1, 1.02)]
        free = [Pace(0.1 * n, 0, None) for n in (1.01, 1, 1.02)]
        paces = {"as_it_is": whole, "loading_free": free, "loader_alone": whole}
        diagnoses[f"data.num_workers={count}"] = Diagnosis(paces, 391)
    (a, one), (b, other) = diagnoses.items()
    kept = {name: diagnosis.as_dict() for name, diagnosis in diagnoses.items()}
    result = {"command": "c", "diagnoses": kept, "comparison": compare(one, other, (a, b))}
    keep(folder / "diagnosis" / "diagnosis.json", result)


def state_of(folder: Path, device: str = "cpu", **changes: Any) -> None:
    summaries = [f"summary-{name}" for name in ("sgd", "adam", "no_norm_sgd", "no_norm_adam")]
    tasks = ("workers", *summaries, "no_norm", "diagnosis", "devices")
    state = {
        "typed": ["output_dir=out put", "data.batch_size=64", "+x='[1,2]'"],
        "has_norm": True,
        "settings": {
            "model._target_": "hpml.models.resnet18",
            "data._target_": "hpml.data.CIFAR10",
        },
        "pilots": {device: {"epoch_steps": 391}},
        "commands": {"training": [COMMAND]} | {task: [f"python -m {task}"] for task in tasks},
        **dict.fromkeys(("limit", "budget_min")),
    }
    environment = ENVIRONMENT | {"device": device} | changes.pop("environment", {})
    keep(folder / "lab.json", state | {"environment": environment} | changes)


def complete(lab: Path, name: str = "m", device: str = "cpu", **changes: Any) -> Path:
    """A machine's folder with all parts: SGD is the best, adam the worst."""
    folder = lab / name
    state_of(folder, device=device, **changes)
    for number, optimizer in enumerate(OPTIMIZERS):
        losses = (2.0, 1.0 + 0.2 * number)
        times = {"epoch_s": (2.0 if device == "cpu" else 0.5) + 0.1 * number}
        trained(folder / "training", f"optimizer={optimizer}", losses, device=device, **times)
    without = {"fingerprint": "n", "device": device, "choices": {"optimizer": "sgd"}}
    trained(folder / "no_norm", "0", (2.0, 1.5), epoch_s=1.5, **without)
    keep(folder / "workers" / "workers.json", search_result({0: 9, 1: 5, 2: 3, 3: 4, 4: 5}))
    diagnosed(folder, (1, 2), (1.0, 0.5))
    summaries = dict.fromkeys(("sgd", "adam"), 11_173_962)
    summaries |= dict.fromkeys(("no_norm_sgd", "no_norm_adam"), 11_164_362)
    for summary, parameters in summaries.items():
        facts = {"name": summary, "trainable_parameters": parameters}
        keep(folder / "summary" / f"{summary}.json", COUNTED | facts)
    return folder


def sections_of(lab: Path, published: bool = True) -> dict[str, str]:
    """The report's sections as Markdown, without its escapes, by their part."""
    write_report(lab, published)
    text = re.sub(r"\\(.)", r"\1", (lab / "report.md").read_text())
    heading, *others = re.split(r"^## (\w+): ", text, flags=re.MULTILINE)
    return {"": heading} | dict(zip(others[::2], others[1::2], strict=True))


def missing(sections: dict[str, str]) -> set[str]:
    return {part for part, text in sections.items() if "No figures yet" in text}


def shown(sections: dict[str, str], part: str) -> list[list[str]]:
    """The rows of a section's first table, a cell's text each."""
    table = re.search(r"(?:^\|.*\n)+", sections[part], re.MULTILINE)
    assert table is not None, sections[part]
    rows = [line.strip("| ").split(" | ") for line in table[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith("---")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The report on one machine with all parts, and an old picture."""
    lab = tmp_path_factory.mktemp("labs") / "lab"
    complete(lab)
    (lab / "c3_gone_workers.png").write_bytes(b"")
    (lab / "notes.png").write_bytes(b"")
    return lab, sections_of(lab)


def test_every_part_has_its_section(whole: Whole) -> None:
    """Question, command, hardware, figures, answer; no old picture, but a file of the user's."""
    lab, sections = whole
    assert list(sections) == ["", *map(str.upper, PARTS), "Published"]
    for part, of in PARTS.items():
        text = sections[part.upper()]
        assert text.startswith(f"{of.title}\n")
        assert of.asked in text
        assert "**Answer, generated from the measured numbers**" in text
        assert "\n- AMD EPYC, 2 cores\n" in text
        assert "python -m" in text
    assert missing(sections) == set()
    assert sections["C1"].count(COMMAND) == sections["C6"].count(COMMAND) == 1
    assert "python -m no_norm" in sections["C7"]
    versions = "python 3.11.7; torch 2.14.1; lightning 2.6.6; hpml 0.1.0"
    assert f"- AMD EPYC, 2 cores; 24 GiB; Linux; {versions}\n" in sections[""]
    assert "shortened" not in "".join(sections.values())
    page = read(lab).text
    assert page.count("Answer, generated from the measured numbers") == len(PARTS) + 1
    assert page.count("AMD EPYC, 2 cores") == 1 + len(PARTS)
    named = re.findall(PICTURE, "".join(sections.values()))
    assert {name.partition("_")[0] for name in named} == {"c1", "c2", "c3", "c6", "c7"}
    pictures = {file.name for file in lab.glob("*.png")}
    assert pictures == {*named, "notes.png"}
    assert (lab / "report.html").read_text().count("<svg") == len(named)


def test_the_tables_have_the_figures(whole: Whole) -> None:
    """Each epoch and the mean of all five; each number of workers; each optimizer."""
    sections = whole[1]
    rows = shown(sections, "C1")
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4", "5", "mean of all 5"]
    assert [row[1] for row in rows[1:]] == ["3.00", "2.00", "2.00", "2.00", "2.00", "2.20"]
    assert rows[1][-2:] + rows[5][-2:] == ["2.000", "25.00%", "1.000", "37.50%"]
    assert rows[0] == ["epoch", "time s", "train/loss", "train/accuracy"]
    of_phases = shown(sections, "C2")
    assert [row[:2] for row in of_phases] == [row[:2] for row in rows]
    assert of_phases[0][2:] == ["= data", "transf", "train", "valid", "other"]
    assert "The first epoch is 50.0% longer" in sections["C2"]
    workers = {row[0]: row[2].endswith("*") for row in shown(sections, "C3")[1:]}
    assert workers == {"0": False, "1": False, "2": True, "3": False, "4": False}
    assert "So use data.num_workers=2." in sections["C3"]
    save = r"- Without workers loading alone takes 4.\d+ ± .* s, 50.0% of the time of an epoch \("
    assert re.search(save, sections["C3"])
    assert "data.num_workers=2 is faster: an epoch takes" in sections["C4"]
    assert "data.num_workers=1: input-bound" in sections["C4"]
    assert "With data.num_workers=1 an epoch waits 196" in sections["C4"]
    counts = [re.findall("python -m summary-(.*)", sections[f"Q{n}"]) for n in range(1, 5)]
    assert counts == [["sgd"], ["sgd"], ["sgd", "no_norm_sgd"], ["adam", "no_norm_adam"]]
    headings, *each = shown(sections, "C6")
    columns = [headings.index(name) for name in ("optimizer", "train/loss", "train/accuracy")]
    of_each = {row[columns[0]]: [row[column] for column in columns[1:]] for row in each}
    assert of_each.keys() == set(OPTIMIZERS)
    assert of_each["adam"] == ["1.800", "27.50%"]
    assert "By last training loss: sgd 1.000, nesterov 1.200," in sections["C6"]
    assert "Without norm the last training loss is 1.500, with it 1.000: higher" in sections["C7"]
    both = r"\| 5 \|.* 1.500 \| 31.25% \|.*\| 5 \|.* 1.000 \| 37.50% \|"
    assert re.search(both, sections["C7"], re.DOTALL)
    elsewhere = "'output_dir=out put' data.batch_size=64 '+x='\"'\"'[1,2]'\"'\"'' lab.name=lab"
    alone = (
        f"nothing to compare cpu with: run `python -m hpml.lab {elsewhere} 'lab.parts=[c5]'` on a"
    )
    assert alone in sections["C5"]
    assert "resnet18" not in sections["Q1"]  # the name is the summary's
    assert "20 convolutions: 17 on the main path, 3 on shortcuts." in sections["Q1"]
    assert "def count_convolutions" in sections["Q1"]
    assert "It has 512 input features." in sections["Q2"]
    assert "11,173,962 parameters are trained." in sections["Q3"]
    assert "11,000,000 to 11,000,100 of them are not zero" in sections["Q4"]
    assert [row[0] for row in shown(sections, "Q4")[1:]] == [
        "with normalisation",
        "without normalisation",
    ]
    assert "SGD and Adam give the same number" in sections["Q4"]
    assert {q for q, text in sections.items() if "Submission B has" in text} == {"Published"}
    # beside those published, a mean where there are several; nothing where there is nothing
    own = {row[0]: row[1] for row in shown(sections, "Published")}
    assert own["best number of workers"] == "2"
    assert (own["epoch on the CPU, s"], own["epoch on a GPU, s"]) == ("2.20", "–")
    names = ("sgd", "adam", "without norm")
    assert [own[f"{name}: loss"] for name in names] == ["1.0000", "1.8000", "1.5000"]
    assert own["convolutions"] == "20"
    assert own["gradients that are not zero, Adam"] == "11,000,000 to 11,000,100"


def test_two_machines_are_one_report(tmp_path: Path, drawn: list[str]) -> None:
    """Each part from both, C5 compares them; those of one device are not pooled as repeats."""
    complete(tmp_path / "lab", "cpu-node")
    of_gpu = {"accelerators": ["NVIDIA H100"], "cpu_cores": 16}
    complete(tmp_path / "lab", "gpu-node", "cuda", environment=of_gpu)
    sections = sections_of(tmp_path / "lab")
    names = ["AMD EPYC, 2 cores", "AMD EPYC, 16 cores, NVIDIA H100"]
    for part, name in itertools.product(map(str.upper, PARTS), names):
        assert f"\n- {name}\n" in sections[part], part
        assert f"- {name}: " in sections[part] or part in ("C5", "Q1", "Q2", "Q3", "Q4")
    assert sections["Q1"].count("20 convolutions") == 1  # counts are the same on all machines
    devices = sections["C5"]
    assert f"- {names[1]}: cuda is " in devices
    assert f"times as fast as {names[0]}: cpu, in one run each" in devices
    assert "nothing to compare" not in devices
    assert not re.search(r"- (\w.*): \1: ", devices)
    assert devices.count(COMMAND) == 2
    assert {"c5", "c1_cpu-node", "c1_gpu-node"} <= set(drawn)
    own = {row[0]: row[1] for row in shown(sections, "Published")}
    assert (own["epoch on the CPU, s"], own["epoch on a GPU, s"]) == ("2.20", "0.700")
    assert own["sgd: epoch s"] == "0.700"  # with a GPU first
    for name in ("a", "b"):
        state_of(tmp_path / "same" / name, environment={"cpu": name})
        trained(tmp_path / "same" / name / "training", "optimizer=sgd", epoch_s=2.0 + (name == "a"))
    devices = sections_of(tmp_path / "same")["C5"]
    assert "a, 2 cores: cpu. One run; the five phases" in devices
    assert "b, 2 cores: cpu is 1.5 times as fast as a, 2 cores: cpu" in devices
    assert drawn.count("c5") == 1


def test_a_missing_part_says_how_to_run_it(tmp_path: Path) -> None:
    """By a command that Hydra reads, with what this lab was begun with; also in an empty lab."""
    lab = tmp_path / "a lab=1"
    state_of(lab / "m", typed=["output_dir='out put'", "data.batch_size=64", "+x='[1,2]'"])
    sections = sections_of(lab)
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        for part in PARTS:
            (command,) = re.findall(r"yet\*\*: To run it: (.*)\n", sections[part.upper()])
            words = shlex.split(command)
            assert words[:3] == ["python", "-m", "hpml.lab"]
            cfg = compose("lab", arranged(words[3:]))
            check(cfg)
            assert cfg.lab.name == "a lab=1"
            assert list(cfg.lab.parts) == [part]
            assert (cfg.output_dir, cfg.data.batch_size, cfg.x) == ("out put", 64, "[1,2]")
    (tmp_path / "lab").mkdir()
    markdown = "".join(sections_of(tmp_path / "lab", published=False).values())
    for text in (markdown, read(tmp_path / "lab").text):
        assert text.count("To run it: python -m hpml.lab lab.name=lab") == len(PARTS)
        assert text.count("no figures yet") == text.count("No figures yet") == len(PARTS)
        assert "Answer, generated" not in text


def test_what_was_shortened_is_said_where_it_counts(tmp_path: Path) -> None:
    """Above, at trainings, at the search; not at what is as long as ever."""
    complete(tmp_path / "lab", limit=40, budget_min=12, rounds=[2, 5])
    sections = sections_of(tmp_path / "lab")
    epochs = "epochs of 40 of 391 batches"
    rounds = "at most 2 of 5 rounds of the search for workers"
    for text in ("".join(sections.values()), read(tmp_path / "lab").text):
        assert len(re.findall(r"shortened\W*: ", text)) == 8  # above, and beside those published
        assert text.count(f": {epochs}; {rounds}\n") == 2
        assert text.count("Fitted into 12 minutes.") == 1
    expected = {"C3": [rounds]} | {part: [epochs] for part in ("C1", "C2", "C5", "C6", "C7")}
    for part in map(str.upper, PARTS):
        shortened = re.findall(r"\*\*shortened\*\*: (.*)\n", sections[part])
        assert shortened == expected.get(part, []), part


def test_answers_reverse_with_the_numbers(tmp_path: Path) -> None:
    """No sentence is fixed text that the figures may contradict."""
    folder = tmp_path / "lab" / "m"
    state_of(folder)
    keep(folder / "workers" / "workers.json", search_result({0: 1, 1: 5, 2: 6, 4: 5.5}))
    diagnosed(folder, (1, 4), (0.5, 1.0))
    sections = sections_of(tmp_path / "lab")
    assert "So use data.num_workers=0." in sections["C3"]
    assert "number of workers here is 0: one worker is compared with the best" in sections["C4"]
    assert "data.num_workers=1 is faster" in sections["C4"]


def test_a_network_without_normalisation(tmp_path: Path) -> None:
    """Has no C7, and is counted as it is."""
    folder = tmp_path / "lab" / "m"
    state_of(folder, has_norm=False)
    for name in ("sgd", "adam"):
        keep(folder / "summary" / f"{name}.json", COUNTED | {"linear_in_features": None})
    sections = sections_of(tmp_path / "lab")
    missing = "No figures yet**: The network has no model.norm that is true; it takes one that can"
    assert f"{missing} do without normalisation, as model=resnet18" in sections["C7"]
    assert [row[0] for row in shown(sections, "Q4")] == ["network", "as it is"]
    assert "There is no linear layer." in sections["Q2"]
    own = [row[:2] for row in shown(sections, "Published")]
    assert ["inputs of the last linear layer", "none"] in own


def test_what_stands_in_for_what_is_asked_is_said(tmp_path: Path) -> None:
    """With each answer, before it: network, data, and epochs of what was trained."""
    folder = complete(tmp_path / "lab")
    assert "Asked is" not in "".join(sections_of(tmp_path / "lab").values())
    for record in folder.glob("*/*/record.json"):
        choices = {"optimizer": record.parent.name.partition("=")[2] or "sgd"}
        kept = json.loads(record.read_text())
        kept["choices"] |= choices | {"model": "small_no_norm", "data": "image_folder"}
        keep(record, kept)
    state_of(folder, settings={"trainer.max_epochs": 3, "data.train_samples": 1500})
    sections = sections_of(tmp_path / "lab")
    network, data = "Asked is ResNet-18; this is small.", "ResNet-18 on CIFAR-10"
    images = "1,500 images of image_folder"
    epochs = f"Asked is {data} for 5 epochs; this is small on {images} for 3."
    expected = dict.fromkeys(map(str.upper, PARTS), epochs)
    expected |= dict.fromkeys(("C3", "C4"), f"Asked is {data}; this is small on {images}.")
    expected |= dict.fromkeys(("Q1", "Q2", "Q3", "Q4"), network)
    for part, sentence in expected.items():
        assert f"numbers**\n\n- {sentence}\n- " in sections[part], part
    own = {row[0]: row[1] for row in shown(sections, "Published")}
    assert {*own.values()} == {"this run", "–"}
    assert "- Nothing here is like theirs" in sections["Published"]


def test_a_lab_of_an_earlier_version_is_told_what_to_count_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What C7 is explained by, and nothing that other parts need."""
    monkeypatch.chdir(tmp_path)
    folder = complete(tmp_path / "lab")
    assert "delete" not in sections_of(tmp_path / "lab")["C7"]
    earlier = {key: of for key, of in COUNTED.items() if key != "first_steps_by_seed"}
    keep(folder / "summary" / "sgd.json", earlier)
    told = sections_of(tmp_path / "lab")["C7"]
    files = "lab/m/summary/sgd.json and lab/m/summary/no_norm_sgd.json"
    assert f"Why was not counted when this lab was begun: delete {files}, then run `" in told
    assert "'lab.parts=[c7]'`." in told


def test_published_submissions_are_an_option(tmp_path: Path) -> None:
    """Without it nothing on the page is of others; with it only like stands beside like."""
    folder = complete(tmp_path / "lab")
    page = "".join(sections_of(tmp_path / "lab", published=False).values())
    assert not re.search("[Ss]ubmission|[Pp]ublished", page)
    for change in ({"limit": 2}, {"settings": {"data.train_samples": 500}}):
        state_of(folder, **change)
        own = {row[0]: row[1] for row in shown(sections_of(tmp_path / "lab"), "Published")}
        assert (own["sgd: epoch s"], own["best number of workers"]) == ("–", "–")
        assert own["convolutions"] == "20"


def test_no_more_workers_are_advised_where_more_did_not_help(tmp_path: Path) -> None:
    """Though loading is what limits both."""
    folder = complete(tmp_path / "lab")
    advice = "Try more num_workers"
    assert advice in sections_of(tmp_path / "lab")["C4"]
    diagnosed(folder, (1, 4), (1.0, 1.02))
    text = sections_of(tmp_path / "lab")["C4"]
    assert "data.num_workers=4: input-bound; with loading free" in text
    assert advice not in text


def test_code_is_shown_once(tmp_path: Path) -> None:
    """A later part names the one that shows it."""
    complete(tmp_path / "lab")
    sections = sections_of(tmp_path / "lab")
    assert [sections[q].count("def count_trainable") for q in ("Q3", "Q4")] == [1, 0]
    assert "- Counted by the code under Q3.\n" in sections["Q4"]


def test_the_optimizers_are_told_their_rate(tmp_path: Path) -> None:
    """And how to repeat them, in the lab's own key."""
    complete(tmp_path / "lab")
    for record in (tmp_path / "lab").glob("*/training/*/record.json"):
        kept = json.loads(record.read_text())
        kept["config"]["optimizer"] = {"lr": 0.1}
        keep(record, kept)
    text = sections_of(tmp_path / "lab")["C6"]
    assert "all with a learning rate of 0.1; one run of each" in text
    assert "too few to tell it from chance: lab.seeds=3 repeats each" in text
    assert "seed=0,1,2" not in text
    cause = "The rate is a likely cause: 0.1 is 100 times adam's usual one, 0.001. Adam's steps are"
    assert text.count(cause) == 1


def test_what_failed_is_named(tmp_path: Path) -> None:
    """And does not count; also a job that never came to its device."""
    folder = tmp_path / "lab" / "m"
    state_of(folder)
    failed = {"status": "failed", "error": {"type": "RunFailedError", "message": "not finite"}}
    trained(folder / "training", "optimizer=sgd", **failed)
    trained(folder / "training", "optimizer=adam")
    bare = {"epochs": 0, "environment": {"host": "h"}, "config": {"device": "gpu"}}
    make_run(folder / "devices", "device=gpu", **bare, **failed)
    sections = sections_of(tmp_path / "lab")
    for part in ("C1", "C2", "C6"):
        assert "Not counted: optimizer=sgd (failed: not finite" in sections[part]
    assert "gpu. One run" not in sections["C5"]
    assert "No epoch was timed on any device." in sections["C5"]


def test_texts_are_never_markup(tmp_path: Path) -> None:
    """Of a machine, a command, a record, a network."""
    lab = tmp_path / "lab"
    evil = {"cpu": EVIL, "accelerators": [EVIL], "os": EVIL}
    folder = lab / "m"
    state_of(folder, environment=evil, typed=[EVIL], commands={"training": [f"{EVIL}\n```"]})
    error = {"type": "RunFailedError", "message": EVIL}
    trained(folder / "training", "optimizer=sgd", status="failed", error=error)
    trained(folder / "training", "optimizer=adam", device=EVIL)
    keep(folder / "summary" / "sgd.json", COUNTED | {"name": EVIL, "code": f"def linear(): {EVIL}"})
    write_report(lab)
    page = (lab / "report.html").read_text()
    assert page.count("<script") == 1  # ours
    assert html.unescape(page).count(EVIL) > 8
    assert is_escaped((lab / "report.md").read_text())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"a"', "\x00", "[" * 100_000])
def test_damaged_files_are_no_results(tmp_path: Path, text: str) -> None:
    """What cannot be read is missing; the rest is there."""
    lab = tmp_path / "lab"
    folder = complete(lab)
    for name in ("workers/workers.json", "diagnosis/diagnosis.json", "summary/sgd.json"):
        (folder / name).write_text(text)
    assert missing(sections_of(lab)) == {"C3", "C4", "Q1", "Q2"}
    (folder / "lab.json").write_text(text)
    (folder / "training" / "optimizer=sgd" / "record.json").write_text(text)
    sections = sections_of(lab)
    assert "- m\n" in sections["C6"]  # its folder's name
    assert missing(sections) == {"C1", "C2", "C3", "C4", "C5", "Q1", "Q2"}


TABLE = Table(["run", "s"], [[Cell(EVIL, EVIL), Cell("2", 2)]])
EVIL_SECTION: dict[str, Any] = {
    **dict.fromkeys(("title", "asked", "shortened", "missing"), EVIL),
    **{key: [EVIL] for key in ("hardware", "answer")},
    "commands": [f"echo {EVIL}", "echo ```"],
    "tables": [(TABLE, EVIL)],
    "code": f"```\nprint(1)  # {EVIL}",
}


def written(folder: Path, sections: list[Section], heading: Any = None) -> tuple[str, str]:
    """The texts of a page with these sections: HTML's, and Markdown's without its escapes."""
    assert write_page(sections, heading or Heading("t"), folder) == folder / "report.html"
    return read(folder).text, (folder / "report.md").read_text().replace("\\", "")


def is_escaped(markdown: str) -> bool:
    outside = re.sub(r"(`{3,})\n.*?\n\1", "", markdown, flags=re.DOTALL)
    return "<script>" not in outside.replace("\\<script\\>", "")


def test_text_is_never_markup(tmp_path: Path) -> None:
    """In any field of a section or of the heading; no control character stays."""
    heading = Heading(EVIL, EVIL, [EVIL], EVIL, f"{EVIL}\x1b[1m")
    text, _ = written(tmp_path, [Section("C3", **EVIL_SECTION)], heading)
    page, markdown = read(tmp_path), (tmp_path / "report.md").read_text()
    assert page.tags.count("script") == 1  # ours
    assert text.count(EVIL) == 17  # the title twice, the section's in the contents too
    assert all(target.startswith("#") for target in page.fetched)
    assert "\x1b" not in (tmp_path / "report.html").read_text() + markdown
    assert is_escaped(markdown)
    assert "````\n```\nprint(1)" in markdown  # what is fenced cannot leave its fence


def test_each_section_is_linked_from_the_contents(tmp_path: Path) -> None:
    """Sections are linked, blocks apart; tables have their heading's cells, and rows."""
    addresses = ["c3", "c4", "q1"]
    sections = [Section(part.upper(), "Workers, and: more", "?") for part in addresses]
    _, markdown = written(tmp_path, sections)
    assert re.findall('<a href="#(.*?)">', (tmp_path / "report.html").read_text()) == addresses
    assert [name for name in read(tmp_path).ids if name in addresses] == addresses
    assert "- [C3: Workers, and: more](#c3-workers-and-more)\n" in markdown
    assert "\n## C3: Workers, and: more\n" in markdown
    evil = [Section(part, **EVIL_SECTION) for part in ("C1", "C2")]
    written(tmp_path, [*evil, Section("C4", "t", "?")], Heading("t", hardware=["a", "b"]))
    blocks = re.split(r"\n{2,}", (tmp_path / "report.md").read_text().strip())
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert sum(block.startswith("## ") for block in blocks) == 3
    assert all("\n" not in block for block in blocks if block.startswith("#"))
    without_rows = [(Table(["a"], []), "The caption"), (TABLE, "Another")]
    for text in written(tmp_path, [Section("C1", "t", "?", tables=without_rows)]):
        assert ("The caption" in text, "Another" in text) == (False, True)
    assert read(tmp_path).tags.count("table") == 1


def test_pictures_of_two_sections_do_not_meet(tmp_path: Path) -> None:
    """The same pictures of two comparisons are files and addresses of their own."""
    sections, names = [], ["phases", "learning"]
    for part, key in (("c3", "data.num_workers"), ("c6", "optimizer.lr")):
        for value in (1, 2):
            make_run(tmp_path / part, f"{key}={value}")
        pictures = draw_for(part, collect([tmp_path / part])[0], tmp_path, names)
        sections.append(Section(part, "t", "?", pictures=pictures))
    _, markdown = written(tmp_path, sections)
    page = read(tmp_path)
    assert {f"{part}_{name}" for part in ("c3", "c6") for name in names} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert page.tags.count("svg") == sum(len(section.pictures) for section in sections) == 4
    assert all((tmp_path / name).is_file() for name in re.findall(PICTURE, markdown))


def test_parts_of_a_busy_machine_have_no_answer(tmp_path: Path) -> None:
    """C3 and C4 name nothing as the best, and say how to run them again; tables are marked."""
    folder = complete(tmp_path / "lab")
    search = json.loads((folder / "workers" / "workers.json").read_text())
    for number in "01234":
        seen = shared_epoch(10.0, 4.0)
        search["settings"]["3"]["rounds"][number] |= {"interference": seen}
    keep(folder / "workers" / "workers.json", search | {"disturbed_rounds": [0, 1, 2, 3, 4]})
    diagnosis = json.loads((folder / "diagnosis" / "diagnosis.json").read_text())
    verdict = {
        "kind": "disturbed",
        "evidence": "its trials waited up to 9 s of 10 s",
        "advice": "Stop",
    }
    diagnosis["diagnoses"]["data.num_workers=1"]["verdict"] = verdict
    keep(folder / "diagnosis" / "diagnosis.json", diagnosis)
    trained(folder / "training", "disturbed", lost_s=1.0, choices={"optimizer": "sgd"})
    sections = sections_of(tmp_path / "lab")
    busy = "The machine was too busy for an answer: "
    waited = (
        "the training with 3 workers waited up to 20 s of 50 s for a core that other programs had"
    )
    assert f"{busy}{waited}; run it again with `python -m hpml.lab" in sections["C3"]
    assert "lab.parts=[c3]' lab.again=true`." in sections["C3"]
    assert "*" not in "".join(row[2] for row in shown(sections, "C3"))
    assert "So use" not in sections["C3"]
    assert (
        f"{busy}data.num_workers=1: its trials waited up to 9 s of 10 s; run it" in sections["C4"]
    )
    assert "is faster" not in sections["C4"]
    assert "data.num_workers=2: input-bound" in sections["C4"]
    assert shown(sections, "C4")[0][1] == "data.num_workers=1!"
    assert [row[0] for row in shown(sections, "C2")][1:3] == ["1!", "2!"]
    assert busy in sections["C2"]
    own = {row[0]: row[1] for row in shown(sections, "Published")}
    assert own["best number of workers"] == "–"
    assert own["sgd: epoch s"] == "2.20"  # of the run that was not disturbed
