"""What a diagnosis leaves as it was, and the jobs that it takes."""

import copy
import gc
import multiprocessing
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import jobs
from helpers.configurations import slow, stress
from helpers.jobs import Images, Job, trainer
from helpers.snapshots import everything, frozen
from helpers.stopping import after_rounds
from lightning.pytorch import callbacks as theirs
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from hpml.callbacks import weight_averaging
from hpml.callbacks.phase_timers import phase_timers
from hpml.callbacks.progress_bar import ProgressBar
from hpml.checkpointing.stop_on_signal import StopOnSignal
from hpml.diagnosis import ceiling, experiment
from hpml.diagnosis.wording import Diagnosis
from hpml.errors import UserError, reason
from hpml.models.flop_formulas import FORMULAS
from hpml.system.patch_object import alter
from hpml.trials.candidates import candidates_of
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.rounds import run_rounds
from hpml.trials.subject import Subject

BATCHES = 3


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(experiment, "ROUNDS", (1,))
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other where other programs run
    yield
    torch.set_num_threads(threads)


def diagnosed(job: Job) -> Diagnosis:
    """In a moment: the figures are of no interest here."""
    return experiment.diagnose(*job, budget_s=0.01, report=lambda line: None)


def assert_left_alone(job: Job, folder: Path) -> Diagnosis:
    """Diagnoses it, and finds everything as it was."""
    gc.freeze()  # only what the diagnosis makes is looked through
    before = everything(job, folder)
    found = diagnosed(job)
    gc.collect()
    after = everything(job, folder)
    assert not {key: (was, after[key]) for key, was in before.items() if was != after[key]}
    assert found.epoch_s("as_it_is").mean > 0
    return found


class Convolutional(jobs.Convolutional):
    """Narrow: a diagnosis has many trials."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)


def images(batches: int = BATCHES, **settings: Any) -> Any:
    return DataLoader(Images(8 * batches), batch_size=8, **settings)


class Uncopyable(Convolutional):
    """A lock, and a tensor that has a history."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.scale = nn.Parameter(torch.ones(())) * 2

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with self.lock:
            return super().training_step(batch, batch_idx) * self.scale.detach()


def in_place(module: Convolutional, batch: Any, batch_idx: int) -> Tensor:
    batch[0].mul_(0.5)
    return Convolutional.training_step(module, batch, batch_idx)


class Counting(L.LightningDataModule):
    """Its setup must not be called twice."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.setups = 0
        self.kept = images(**settings) if settings else shuffled()

    def setup(self, stage: str) -> None:
        assert self.setups == 0
        self.setups += 1

    def train_dataloader(self) -> Any:
        return self.kept


class Asking(Convolutional):
    """Looks at its Trainer, the data module and the loader."""

    def on_train_start(self) -> None:
        assert self.trainer.datamodule is not None  # type: ignore[attr-defined]
        assert len(self.trainer.train_dataloader.dataset) == 8 * BATCHES  # type: ignore[union-attr]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        assert self.trainer.datamodule.setups == 1  # type: ignore[attr-defined]


class WithOwnData(Convolutional):
    def train_dataloader(self) -> Any:
        return images(shuffle=True)

    def val_dataloader(self) -> Any:
        raise AssertionError("nothing is validated")


class OfPairs(Convolutional):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        first = super().training_step(batch["a"], batch_idx)
        return first + super().training_step(batch["b"], batch_idx)


class Fetching(Convolutional):
    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor:
        batch, batch_idx, _ = next(dataloader_iter)
        return super().training_step(batch, batch_idx)


class Scheduled(Convolutional):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        steps = int(self.trainer.estimated_stepping_batches)
        made = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps)
        return [optimizer], [{"scheduler": made, "interval": "step"}]


def plateau(module: Convolutional) -> Any:
    optimizer = Convolutional.configure_optimizers(module)
    made = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return [optimizer], [{"scheduler": made, "monitor": "val_loss"}]


class OwnOptimizer(Convolutional):
    """Made with the module, and given again whenever it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.optimizer = torch.optim.Adam(self.parameters())

    def configure_optimizers(self) -> Any:
        assert self.optimizer.param_groups[0]["params"][0] is next(self.network.parameters())
        assert "step" not in vars(self.optimizer)
        return self.optimizer


def kind(**methods: Any) -> type[Convolutional]:
    return type("Kind", (Convolutional,), methods)


class Measuring(Convolutional):
    """Torchmetrics, logged by object, in the bar, and at the epoch's end."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(10)
        self.seen: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.accuracy(self.network(batch[0]), batch[1])
        self.log("accuracy", self.accuracy, prog_bar=True, on_step=True, on_epoch=True)
        loss = super().training_step(batch, batch_idx)
        self.seen.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("mean", torch.stack(self.seen).mean())
        self.log("best", self.trainer.callback_metrics["val_loss"])  # nothing was validated


def draw(module: Any, batch: Any, batch_idx: int) -> Tensor:
    module.logger.experiment.add_scalar("x", 1.0, batch_idx)
    return Convolutional.training_step(module, batch, batch_idx)


class Remote(DummyLogger):
    """Is sent nothing in a trial."""

    def log_metrics(self, *_: Any, **__: Any) -> None:
        raise AssertionError("sent")


@dataclass(eq=False)
class Referring(L.Callback):
    """Keeps its Trainer and the module's batches."""

    steps: int = 0
    trainer: Any = None
    batches: list[Any] = field(default_factory=list)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        assert self.trainer is None or self.steps or self.trainer is not trainer
        self.trainer = trainer
        self.batches.append(arguments[1])
        self.steps += 1


def bringing(folder: Path) -> Job:
    """Callbacks of the module's own, one of which would save."""
    saving = ModelCheckpoint(folder / "saved", save_on_train_epoch_end=True)
    own = [Referring(), saving, EarlyStopping("val_loss")]
    return trainer(folder), kind(configure_callbacks=lambda module: own)(), images()


@dataclass(eq=False)
class Holding(L.Callback):
    """Changes a module that it was given when it was made."""

    module: L.LightningModule

    def on_train_batch_end(self, *_: Any) -> None:
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.mul_(0.5)


def holding(folder: Path) -> Job:
    module = Convolutional()
    return trainer(folder, callbacks=[Holding(module)]), module, images()


class NeedsGradients(L.Callback):
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        assert next(pl_module.network.parameters()).grad is not None


class Numbers(IterableDataset[Any]):
    """Has random states of its own: numpy's, Python's and torch's."""

    def __init__(self) -> None:
        self.of_numpy, self.of_python = np.random.default_rng(3), random.Random(3)
        self.of_torch = torch.Generator().manual_seed(3)

    def __iter__(self) -> Iterator[Any]:
        for _ in range(64):
            x = self.of_numpy.random() + self.of_python.random()
            yield torch.rand(1, 28, 28, generator=self.of_torch) * x, 1


def with_callbacks(*callbacks: L.Callback, **settings: Any) -> Callable[[Path], Job]:
    def job(folder: Path) -> Job:
        given = {"logger": CSVLogger(folder / "logs"), "log_every_n_steps": 1} | settings
        return trainer(folder, callbacks=list(callbacks), **given), Measuring(), images()

    return job


def a_job(module: Any = Convolutional, data: Any = images, **given: Any) -> Callable[[Path], Job]:
    return lambda folder: (trainer(folder, **given), module(), data())


def pairs(workers: int = 0) -> Any:
    return {"a": images(num_workers=workers), "b": images(2, num_workers=workers)}


def shuffled() -> Any:
    return images(shuffle=True, generator=torch.Generator().manual_seed(5))


DOUBLES: Any = DataLoader(TensorDataset(torch.rand(32, 784, dtype=torch.float64)), batch_size=8)
# `jobs.JOBS`, which are wide enough to take their time
NARROW: dict[str, Callable[[Path, int], Job]] = {
    "autoencoder": jobs.job(partial(jobs.Autoencoder, 8), jobs.vectors, 8, shuffle=True),
    "transformer": jobs.job(partial(jobs.Transformer, 8), jobs.sentences, 8),
    "two optimizers by hand": jobs.job(partial(jobs.Adversarial, 4), jobs.vectors, 8),
    "gradient accumulation": jobs.job(
        Convolutional, Images, 8, shuffle=True, accumulate_grad_batches=4
    ),
    "IterableDataset": jobs.job(Convolutional, jobs.Stream, 8),
}
assert NARROW.keys() == jobs.JOBS.keys()
JOBS: dict[str, Callable[[Path], Job]] = {
    **{name: lambda folder, job=job: job(folder, 4) for name, job in NARROW.items()},
    "shuffled by its own generator": a_job(data=shuffled),
    "one batch an epoch": a_job(data=lambda: images(1)),
    "uncopyable parts": a_job(Uncopyable),
    "changes its batches": a_job(kind(training_step=in_place)),
    "own data": a_job(WithOwnData, lambda: None),
    "data module": a_job(Asking, Counting),
    "dictionary of loaders": a_job(OfPairs, pairs),
    "loaders with workers": a_job(OfPairs, lambda: pairs(workers=1)),
    "fetches by itself": a_job(Fetching),
    "one cycle": a_job(Scheduled),
    "one cycle of accumulated steps": a_job(Scheduled, accumulate_grad_batches=2),
    "one cycle without a length": a_job(
        Scheduled, lambda: DataLoader(jobs.Stream(24), batch_size=8), max_steps=7, max_epochs=-1
    ),
    "plateau of a metric that is not there": a_job(kind(configure_optimizers=plateau)),
    "own optimizer": a_job(OwnOptimizer),
    "no optimizer": a_job(kind(configure_optimizers=lambda module: None)),
    "L-BFGS": a_job(
        kind(configure_optimizers=lambda own: torch.optim.LBFGS(own.parameters(), max_iter=2))
    ),
    "early stopping": with_callbacks(EarlyStopping("val_loss")),
    "learning rate monitor": with_callbacks(LearningRateMonitor()),
    "learning rate monitor, remote logger": with_callbacks(LearningRateMonitor(), logger=Remote()),
    "checkpoints": with_callbacks(ModelCheckpoint(monitor="val_loss"), enable_checkpointing=True),
    "callback with its Trainer": with_callbacks(Referring()),
    "two callbacks of one kind": with_callbacks(Referring(), Referring()),
    "callbacks of the module's own": bringing,
    "a callback that stops": with_callbacks(
        theirs.LambdaCallback(on_train_batch_end=lambda fit, *_: setattr(fit, "should_stop", True))
    ),
    "a callback that holds the module": holding,
    "moving average": with_callbacks(theirs.EMAWeightAveraging()),
    "rich bar": with_callbacks(theirs.RichProgressBar(), enable_progress_bar=True),
    "tqdm bar": with_callbacks(theirs.TQDMProgressBar(), enable_progress_bar=True),
    "bf16": a_job(precision="bf16-mixed"),
    "fp64": a_job(lambda: jobs.Autoencoder(8), lambda: DOUBLES, precision="64-true"),
    "first two batches": a_job(limit_train_batches=2),
    "a third of the batches": a_job(limit_train_batches=0.34),
    "fast_dev_run": a_job(fast_dev_run=True),
    "overfit_batches": a_job(overfit_batches=1),
    "max_time": a_job(max_time={"seconds": 0}, max_epochs=None),
    "max_steps": a_job(max_steps=2, max_epochs=-1),
    "draws with its logger": lambda folder: a_job(
        kind(training_step=draw), logger=TensorBoardLogger(folder / "logs")
    )(folder),
}


# What is reported of them: from memory batches would come as the first time has left them.
NOTES = {
    "changes its batches": [
        "a step changes its batches: from memory they come as copies, not timed"
    ],
    "learning rate monitor, remote logger": ["nothing was sent to Remote: its cost is left out"],
}
WITH_WORKERS = "loaders with workers"  # which start and end for each of its trials
CASES = [
    stress(name)
    if name == WITH_WORKERS
    else slow(name)
    if number % 3 and name not in NOTES
    else name
    for number, name in enumerate(JOBS)
]


@pytest.mark.parametrize("name", CASES)
def test_a_job_never_fitted(name: str, tmp_path: Path) -> None:
    """It is diagnosed with all its trials, and nothing of it changes."""
    found = assert_left_alone(JOBS[name](tmp_path), tmp_path)
    assert (found.notes, "compute_free" in found.paces) == (NOTES.get(name, []), True)


@pytest.mark.parametrize("accumulated", [1, 2, {0: 2, 1: 4}], ids=str)
def test_a_job_already_fitted(accumulated: Any, tmp_path: Path) -> None:
    """All is as the fit left it, also where another Trainer is to train the module.

    Also where a callback has left its Trainer with a number that fit itself would refuse.
    """
    module = Convolutional()
    callbacks = [Referring(), EarlyStopping("loss", strict=False), ModelCheckpoint(tmp_path)]
    settings: Any = {"enable_checkpointing": True}
    if isinstance(accumulated, dict):
        callbacks.append(theirs.GradientAccumulationScheduler(accumulated))
    else:
        settings["accumulate_grad_batches"] = accumulated
    settings |= {"max_epochs": 2, "callbacks": callbacks, "logger": CSVLogger(tmp_path)}
    fitted = trainer(tmp_path, **settings)
    loader = images(shuffle=True)
    fitted.fit(module, loader)
    assert fitted.optimizers[0].state_dict()["state"]
    module.network[1].eval()
    assert_left_alone((fitted, module, loader), tmp_path)
    assert_left_alone((trainer(tmp_path), module, loader), tmp_path)
    assert module.trainer is fitted


def test_a_fit_after_a_diagnosis_is_the_same(tmp_path: Path) -> None:
    """Bit for bit the weights of a fit without one; with the first batches of the same order."""
    trained = []
    for look in (False, True):
        L.seed_everything(1, verbose=False)
        module, loader = Convolutional(), images(shuffle=True)
        fitting = trainer(tmp_path, max_epochs=2)
        if look:
            diagnosed((fitting, module, loader))
        fitting.fit(module, loader)
        trained.append(frozen(module.state_dict()))
    assert trained[0] == trained[1]


def test_persistent_workers_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run go on, those of the trials end, none are left in a data module's loader."""
    few = {name: experiment.INTERVENTIONS[name] for name in ("as_it_is", "loading_free")}
    monkeypatch.setattr(experiment, "INTERVENTIONS", few)  # each trial starts processes
    loader = images(num_workers=1, persistent_workers=True)
    next(iter(loader))
    (worker,) = multiprocessing.active_children()
    found = assert_left_alone((trainer(tmp_path), Convolutional(), loader), tmp_path)
    assert found.facts.num_workers == 1
    assert multiprocessing.active_children() == [worker]
    assert loader._iterator is not None
    data = Counting(num_workers=1, persistent_workers=True)
    assert_left_alone((trainer(tmp_path), Convolutional(), data), tmp_path)
    assert data.kept._iterator is None


def test_random_states_of_the_data_itself(tmp_path: Path) -> None:
    """Whichever library's, or a data module's: what comes next is what would have come."""
    once, data = (DataLoader(Numbers(), batch_size=8) for _ in range(2))
    found = assert_left_alone((trainer(tmp_path), Convolutional(4), data), tmp_path)
    assert (found.notes, "compute_free" in found.paces) == ([], True)
    assert frozen(next(iter(data))) == frozen(next(iter(once)))
    untouched, module = Counting(), Counting()  # which keep a loader with a generator
    assert_left_alone((trainer(tmp_path), Convolutional(), module), tmp_path)
    assert module.setups == 0
    assert [*untouched.kept.sampler] == [*module.kept.sampler]


def test_an_error_of_the_job_comes_through(tmp_path: Path) -> None:
    """As the fit itself would raise it, with all as it was; an early end is one sentence."""
    broken = kind(training_step=lambda module, batch, batch_idx: 1 / 0)
    job = trainer(tmp_path), broken(), images()
    before = everything(job, tmp_path)
    with pytest.raises(ZeroDivisionError):
        diagnosed(job)
    assert everything(job, tmp_path) == before
    ending = kind(on_train_batch_start=lambda module, batch, index: -1 if index == 2 else None)
    with pytest.raises(UserError, match="ends by itself after 3 steps; a trial needs"):
        diagnosed((trainer(tmp_path), ending(), images()))


@pytest.mark.parametrize("slow_s", [0.0, 1e9])
def test_a_failing_trial(slow_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that needs the gradients is named; the rest is diagnosed all the same."""
    monkeypatch.setattr(experiment, "SLOW_S", slow_s)
    found = assert_left_alone(with_callbacks(NeedsGradients())(tmp_path), tmp_path)
    assert "compute_free" not in found.paces
    (note, *_) = found.notes
    assert note.startswith("the trial with computing free could not be run (AssertionError: ")
    assert " in NeedsGradients.on_after_backward (test_subject.py:" in note
    assert found.verdict["kind"] in ("input-bound", "overhead-bound", "inconclusive")


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    """A profiler, a mode of compiling, many callbacks; our own but the bar, in silence."""
    module = Convolutional()
    module.network.compile(mode="reduce-overhead")
    assert Subject(trainer(tmp_path, profiler="simple"), module, images()).notes == [
        "the trials run without SimpleProfiler: its cost is left out",
        "what is compiled is compiled anew, in torch's default mode",
    ]
    many = [Referring() for _ in range(experiment.MOST_CALLBACKS + 1)]
    found = experiment.Experiment(
        Subject(*with_callbacks(*many)(tmp_path)), None, 0.0, lambda line: None
    )
    found.prepare()
    experiment.measure(found.candidates(), after_rounds(1))
    found.paces["hooks_free"] = [Pace(0.0, 0.0, None)]  # so that they cost anything
    found.paces["as_it_is"] = [Pace(1.0, 0.0, None)]
    found.try_callbacks()
    assert found.diagnosis().notes == ["not tried one by one: Referring (9), logging"]
    assert "without_Referring (8)" in found.paces
    own = [*phase_timers(), ProgressBar(), StopOnSignal(), weight_averaging.EMAWeightAveraging()]
    fitting = trainer(tmp_path, callbacks=[*own, Referring()], enable_progress_bar=True)
    subject = Subject(fitting, Convolutional(), images())
    assert subject.callback_names == ["ProgressBar", "Referring"]
    assert subject.notes == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_workers_that_share_a_core_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, by the cores that they may run on while they do."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    core = min(os.sched_getaffinity(0))
    pinned = images(num_workers=2, worker_init_fn=lambda number: os.sched_setaffinity(0, {core}))
    subject = Subject(trainer(tmp_path), Convolutional(), pinned)
    for seed in range(2):
        subject.fit(Intervention(), 0, 2, seed)
    (note,) = subject.notes
    assert note.startswith(f"2 workers may run on 1 core only ({core}) and wait for one another")


def test_batches_that_differ_in_shape_are_those_of_the_round(tmp_path: Path) -> None:
    """Else the job's own trials would have longer steps than those from memory, or shorter ones."""

    def ragged(rows: list[torch.Tensor]) -> torch.Tensor:
        return torch.zeros(len(rows), int(rows[0].item()))

    own = kind(training_step=lambda module, batch, batch_idx: module.network[0].bias.sum())
    data = DataLoader(torch.arange(1.0, 9.0), batch_size=1, shuffle=True, collate_fn=ragged)  # type: ignore[arg-type]

    def kept(module: L.LightningModule, data: Any) -> list[Any]:  # in each of three rounds
        subject, batches = Subject(trainer(tmp_path), module, data), []
        subject.keep_batches(3, seed=0)
        fits = candidates_of(subject, {"from memory": Intervention(loading=True)}, 1, 3)
        run_rounds(fits, after_rounds(3), lambda *_: batches.append(subject._raw.batches))
        return batches

    lengths = [[batch.shape[1] for batch in batches] for batches in kept(own(), data)]
    assert len(set(map(tuple, lengths))) > 1
    first, *others = kept(Convolutional(), images())
    assert all(batches is first for batches in others)


def test_a_rank_keeps_no_more_batches_than_another_one(tmp_path: Path) -> None:
    """What each is given is compared with what was kept, of as many."""
    subject: Any = Subject(trainer(tmp_path), Convolutional(), images())
    tried = subject.tried
    subject.tried = lambda work: [*tried(work), 2]
    subject.keep_batches(3, seed=0)
    assert len(subject._raw.batches) == len(subject._moved.batches) == 2
    assert not subject._raw.are_changed


def test_an_altered_module_is_pickled_as_what_it_was() -> None:
    """By a spawned worker whose loader holds a method of it, say."""
    altered = copy.copy(module := Convolutional())
    for method in ("training_step", "forward"):
        alter(altered, **{method: lambda module, batch: None})
    again = pickle.loads(pickle.dumps(altered))
    assert type(again) is Convolutional
    assert frozen(again.state_dict()) == frozen(module.state_dict())


def test_a_fit_computes_what_the_job_computes(tmp_path: Path) -> None:
    """As the job's own steps move the weights; with computing free they stay as they are."""
    fitting, module, loader = trainer(tmp_path), Convolutional(4), images()
    subject = Subject(fitting, module, loader)
    subject.keep_batches(2, seed=0)
    subject._module.load_state_dict(module.state_dict())  # as before that
    subject.fit(Intervention(), 1, BATCHES - 2, seed=3)
    torch.manual_seed(3)
    fitting.fit(module, loader)
    assert frozen(subject._module.state_dict()) == frozen(module.state_dict())
    fitting, module, loader = trainer(tmp_path), Scheduled(), images()
    subject = Subject(fitting, module, loader)
    subject.keep_batches(2, seed=0)
    before = frozen(subject._weights)
    subject._module.network.forward = None  # would fail if it were called
    subject.fit(Intervention(compute=True), 1, 2, seed=0)
    assert frozen(subject._module.state_dict()) == before


def test_a_failure_at_an_epochs_end_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agreement is told of it: other ranks may wait for this one there."""

    def end(module: Any) -> None:
        module.trainer.callback_metrics["val_loss"]

    told: list[Exception] = []
    for module in (kind(on_train_epoch_end=end)(4), Convolutional(4)):
        subject = Subject(trainer(tmp_path), module, images())
        monkeypatch.setattr(subject.agreement, "pass_over", told.append)
        subject.fit(Intervention(), 0, 1, seed=0)
        subject.close()
    assert list(map(reason, told)) == ["KeyError: 'val_loss'"]


def test_operations_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two for each weight and sample forward, four backward; what a matrix product reaches."""
    weights = 2 * (784 * 8 + 8 * 16)

    class RunsBefore(jobs.Autoencoder):
        def on_fit_start(self) -> None:
            """As a network does that is compiled before it trains."""
            self.encoder(torch.rand(8, 784)).sum().backward()

    for kind in (jobs.Autoencoder, RunsBefore):
        data: Any = DataLoader(jobs.vectors(32), batch_size=8)
        subject = Subject(trainer(tmp_path), kind(8), data)
        subject.keep_batches(2, seed=0)
        assert ceiling.flops_per_step(subject, []) == 8 * (6 * weights - 2 * 784 * 8)
        subject.close()
    notes: list[str] = []
    subject = Subject(trainer(tmp_path), jobs.Autoencoder(8), data)
    subject.keep_batches(2, seed=0)
    monkeypatch.setitem(FORMULAS, torch.ops.aten.addmm, lambda *_, **__: None)
    assert ceiling.flops_per_step(subject, notes) is None
    assert notes == ["FLOPs: not counted, since no formula is known for aten.addmm"]
    monkeypatch.setattr(ceiling, "LASTS_S", 0.0)
    monkeypatch.setitem(ceiling.SIZES, "cpu", 64)
    times = iter([0.0, 0.0, 1.0, 1.5, 9.0])
    monkeypatch.setattr(ceiling.time, "perf_counter", lambda: next(times))
    assert ceiling.ceiling_flops_per_s(torch.device("cpu"), "32-true") == 2 * 64**3 / 0.5


@pytest.mark.parametrize(("limit", "workers"), [(2, 2), (0.7, 2), (2, 0), (1.0, 2)])
def test_what_workers_load_for_nobody_is_noted(limit: Any, workers: int, tmp_path: Path) -> None:
    """Once, where a limit cuts a loader that has workers."""
    note = f"limit_train_batches={limit}: workers also load up to 1 unused batch an epoch"
    subject = Subject(
        trainer(tmp_path, limit_train_batches=limit), Convolutional(4), images(num_workers=workers)
    )
    for _ in range(2):
        subject.load(1, 2, seed=0)
    is_cut = workers and limit != 1.0
    assert subject.notes == ([f"{note}; the times hold that"] if is_cut else [])
    subject.close()


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"max_epochs": 0}, images(), "max_epochs=0: nothing would be trained"),
        ({"max_steps": 0}, images(), "max_steps=0: nothing would be trained"),
        ({"devices": 2, "strategy": "ddp_spawn"}, images(), "2 devices by DDPStrategy: trials of"),
        ({}, iter(images()), "the data is an iterator"),
        ({}, DataLoader(TensorDataset(torch.rand(0, 1))), "gives no batch"),
        ({}, DataLoader(jobs.Stream(0)), "gives no batch"),
        ({"limit_train_batches": 0}, images(), "limit_train_batches=0: nothing would be trained"),
        ({"limit_train_batches": 0.1}, images(), "=0.1: is less than one of the 3 batches"),
    ],
)
def test_wrong_input(settings: dict[str, Any], data: Any, message: str, tmp_path: Path) -> None:
    """One sentence says what is wrong with it."""
    with pytest.raises(UserError, match=message):
        diagnosed((trainer(tmp_path, **settings), Convolutional(4), data))
