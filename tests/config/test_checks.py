import inspect
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

import lightning as L
import pytest
from helpers.configurations import TINY, Compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import assume, example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict

from hpml.checkpointing.resume_choice import check as check_files
from hpml.cli.run_directory import fresh_dir
from hpml.config.checks import PROGRAMS, check, unused_keys
from hpml.config.command_line import (
    arranged,
    as_override,
    as_typed,
    config_dir,
    from_here,
    options,
    quoted,
    typed,
)
from hpml.config.conf import closest_key, dotted_keys, find_conf, options_with, resolve
from hpml.config.fingerprint import code_fingerprint, fingerprint
from hpml.config.instantiate import instantiate_target, with_typed_paths
from hpml.config.key_rules import RULES, Rule
from hpml.errors import UserError
from hpml.training.build import build_trainer

GROUPS = ("data", "model", "optimizer", "scheduler", "callbacks", "logger")


def options_of(group: str) -> list[str]:
    files = sorted((find_conf() / group).glob("*.yaml"))
    return [f"{group}={file.stem}" for file in files if not file.stem.startswith("base_")]


def test_every_option_is_allowed_and_every_rule_about_a_key_that_exists(compose: Compose) -> None:
    """Each file in conf/ passes the check; no rule outlives the key that it was written for."""
    known: set[str] = set()
    together = zip_longest(*map(options_of, GROUPS), fillvalue="seed=0")
    for words in [*together, *((option,) for option in options_of("experiment"))]:
        cfg = compose(*words)
        check(cfg)
        known |= set(dotted_keys(cfg))
    for program in PROGRAMS:
        known |= set(dotted_keys(OmegaConf.load(find_conf() / f"{program}.yaml")))
    assert set(RULES) <= known


def test_the_trainer_lists_every_argument_of_lightning(compose: Compose) -> None:
    """But those that are groups; an experiment changes what it is about and nothing else."""
    listed = set(OmegaConf.load(find_conf() / "trainer" / "default.yaml"))
    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    assert listed == arguments - {"callbacks", "logger"}
    plain, demo = compose(), compose("experiment=demo")
    assert demo.optimizer == plain.optimizer
    assert demo.data._target_ == "hpml.data.Synthetic"


@pytest.mark.parametrize("group", [*PROGRAMS, "cpu", "sweep"])
def test_a_value_in_place_of_keys_is_told_them(compose: Compose, group: str) -> None:
    """As `workers=4` is typed for `workers.most=4`: no traceback later."""
    cfg = compose()
    OmegaConf.update(cfg, group, 4, merge=False, force_add=True)
    with pytest.raises(UserError, match=rf"^{group}=4: give one of its keys: {group}\.\w+, "):
        check(cfg)


ALLOWED = {
    "an integer of at least 1": "data.batch_size=0 data.batch_size=1.5",
    "an integer of at least 0": " ".join(
        f"data.num_workers={value}" for value in (-1, "two", "true", "null")
    ),
    "a number of at least 0 and below 1": "data.val_split=1 label_smoothing=1",
    "one of per_sample, batched, device, auto": "data.pipeline=fast",
    "one of random, alternating": "data.flip=often",
    "an integer of at least 1 or null": "data.eval_batch_size=0",
    "one of true, false, auto, default": "compile=fastest",
    "true or false or null": "optimizer.fused=yes",
    "one of auto, cpu, gpu, mps": "device=tpu",
    "a number above 0 and below 3e+38": "optimizer.lr=abc",
    "an integer of at least -1 or null": "trainer.max_epochs=-5",
    "an integer of at least 0 and below 4294967296": "seed=-1",
    "one of 32-true, ": "trainer.precision=17",
}
FOLDER = "data=image_folder"
OF_IMAGES = {
    "data.decode_size=64: needs data.image_size$": f"{FOLDER} data.decode_size=64",
    "data.decode_size=64: must be at least data.image_size=65$": (
        f"{FOLDER} data.decode_size=64 data.image_size=65"
    ),
    "data.crop=resized: data.in_memory=true .*; give data.in_memory=false": (
        f"{FOLDER} data.crop=resized data.in_memory=true"
    ),
    "data.crop=resized: data.pipeline=device .*; give data.pipeline=batched": (
        f"{FOLDER} data.crop=resized data.pipeline=device"
    ),
    "data.decoder=fast: give one of auto, pillow, turbo": f"{FOLDER} data.decoder=fast",
    "data.workers=fibers: give one of processes, threads": "data.workers=fibers",
}
GRAPHS = "compile=reduce-overhead: its CUDA graphs overwrite the gradients"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *((word, f"{word}: give {what}") for what, of in ALLOWED.items() for word in of.split()),
        ("compile=reduce-overhead trainer.accumulate_grad_batches=2", GRAPHS),
        ("optimizer.lr=inf", "optimizer.lr=Infinity: give a number above 0 and below 3e+38"),
        # of pixels between 0 and 255
        (
            "data.mean=[123,117,104]",
            "data.mean=[123, 117, 104]: give a list of 3, each a number of",
        ),
        (
            "data.std=[58,57,57]",
            "data.std=[58, 57, 57]: give a list of 3, each a number above 0 and",
        ),
        ("optimizer.lr=[1,2]", "optimizer.lr=[1, 2]: give a number above 0 and below 3e+38"),
        (f"trainer.max_steps={'9' * 400}", "trainer.max_steps=999"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: nothing would be trained"),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: nothing would be"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1: the run would never end"),
        # what YAML makes of 10:00:00:00 in a file, where it makes a text of 09:00:00:00
        ("trainer.max_time=2160000", "trainer.max_time=2160000: a file's 10:00:00:00 is read as"),
        ("trainer.accelerator=gpu", "trainer.accelerator=gpu: `device` alone sets it"),
        ("seed=${nothing}", "seed: Interpolation key 'nothing' not found"),
        ("data.batch_size=???", "data.batch_size: Missing mandatory value"),
        # what torch would raise in the middle of the start
        ("optimizer=nesterov optimizer.momentum=0", "optimizer.momentum=0"),
        ("~timing", "timing: is missing; no run can do without it"),
        ("timing=null", "timing=null: give one of its keys: timing.every_n_steps, "),
        ("~trainer.max_epochs", "trainer.max_epochs: is missing; an option of your own begins"),
        ("~logger", "logger: nothing is chosen; give logger=none"),
        ("~model", "model: nothing is chosen; give model=OPTION"),
        ("+logger.mine=5", "logger.mine=5: give a mapping with a _target_"),
    ],
)
def test_a_wrong_value_is_named(compose: Compose, overrides: str, message: str) -> None:
    """The message has the dotted key, the value as it was given, and what is allowed."""
    with pytest.raises(UserError) as caught:
        check(compose(*overrides.split()))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", ["abc", "[3,2]", "[-1,2]", "[2,2]", "3", "[]", "null"])
def test_milestones_are_increasing_integers(compose: Compose, value: str) -> None:
    """torch takes others in silence, and never reaches them."""
    check(compose("scheduler=multistep", "scheduler.milestones=[1,7]"))
    with pytest.raises(UserError, match=r"scheduler.milestones=.*: give increasing integers"):
        check(compose("scheduler=multistep", f"scheduler.milestones={value}"))


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none())
def test_a_rule_never_fails_on_a_value(value: object) -> None:
    """Any value is admitted or not; none breaks the check itself."""
    assert {rule.admits(value) for rule in RULES.values()} <= {True, False}


@given(st.floats())
def test_numbers_are_admitted_within_their_bounds(value: float) -> None:
    """A float rule admits exactly the finite numbers of its interval."""
    inside = math.isfinite(value) and 0 <= value < 1
    assert Rule(float, at_least=0, below=1).admits(value) == inside


def test_values_of_several_kinds() -> None:
    """A flag with a third value; a part of the batches, or how many."""
    flag, part = RULES["trainer.deterministic"], RULES["trainer.limit_val_batches"]
    assert all(map(flag.admits, (True, False, "warn", None)))
    assert not any(map(flag.admits, ("maybe", 1, 0)))
    assert all(map(part.admits, (0, 0.5, 1.0, 1, 3, 3.0, None)))
    assert not any(map(part.admits, (1.5, -1, True)))


def test_a_command_line_without_words_names_no_folder() -> None:
    """A bare `python -m hpml.train` begins."""
    assert config_dir([]) is None
    assert config_dir(["a=1", "--config-dir", "mine"]) == Path("mine").resolve()


def test_a_command_line_as_people_type_it() -> None:
    """-m anywhere; what belongs to an option, or may be two values of a sweep, is left alone."""
    meant = {
        "seed=0,1 -m model=small": "-m seed=0,1 model=small",
        "--config-dir c/x=1 evaluate=a=b": "--config-dir c/x=1 evaluate='a=b'",
        "seed=0,1 -cd mine -m model=a": "-m -cd mine seed=0,1 model=a",
        "-m evaluate=a/s=1,b/s=2": "-m evaluate=a/s=1,b/s=2",
    }
    assert {words: " ".join(arranged(words.split())) for words in meant} == meant
    # the folders of a sweep's jobs have equals signs
    for path in ("a/seed=1/c.ckpt", "a/optimizer=adam,seed=1/b", "a/optimizer.betas=[0.8,0.9]/b"):
        assert quoted(f"evaluate={path}") == f"evaluate='{path}'"
    as_is = ["evaluate='a/seed=1'", "seed=range(start=0,stop=3)", "optimizer.lr=0.1"]
    as_is += ["--config-dir=a=b", "+logger={a:b}", r"evaluate=a/seed\=1/b"]
    assert [*map(quoted, as_is)] == as_is


def test_paths_are_read_from_where_they_were_typed(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run that works in its own folder: those of ours and Lightning's, and no server's."""
    words = ["logger=csv", "logger.csv.save_dir=logs", "trainer.default_root_dir=mine"]
    cfg = compose(*words, "data=image_folder", "data.root=images", typed=True)
    here, run = tmp_path / "here", tmp_path / "run"
    OmegaConf.set_readonly(HydraConfig.get(), False)
    HydraConfig.get().runtime.cwd = str(here)
    here.mkdir()
    run.mkdir()
    monkeypatch.chdir(run)
    assert as_typed("a/b.ckpt") == here / "a/b.ckpt"
    assert as_typed("/a") == Path("/a")
    assert from_here(here / "a") == Path("a")
    assert instantiate_target(cfg.logger.csv, "logger.csv").save_dir == str(here / "logs")
    assert with_typed_paths({"tracking_uri": "http://a", "dirpath": None, "seed": "x"}) == {
        "tracking_uri": "http://a",
        "dirpath": None,
        "seed": "x",
    }
    trainer = build_trainer(cfg)
    assert trainer.default_root_dir == str(here / "mine")
    assert instantiate_target(cfg.data, "data").root == here / "images"
    monkeypatch.chdir(here)
    assert as_typed("a/b.ckpt") == Path("a/b.ckpt")
    for how in ("resume", "evaluate"):
        with pytest.raises(UserError, match=f"{how}=gone: there is no such file"):
            check_files("gone" if how == "resume" else None, "gone" if how == "evaluate" else None)


def test_a_jobs_command_is_that_of_a_run_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed again, it does not write into the sweep."""
    words = ["--config-dir", "mine", "seed=1", "hydra.run.dir='a b'", "sweep.name='s'"]
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    assert options(words) == ["--config-dir", "mine"]
    assert "sweep.name" in typed()
    monkeypatch.setenv("HPML_JOB", "/somewhere")
    assert typed("x=1").endswith(" --config-dir mine seed=1 x=1")


@pytest.mark.parametrize("message", OF_IMAGES)
def test_what_images_cannot_be_is_refused(compose: Compose, message: str) -> None:
    """Before a file is looked at, with what to give instead."""
    with pytest.raises(UserError, match=message):
        check(compose(*OF_IMAGES[message].split()))


@pytest.mark.parametrize("words", [FOLDER, "data=synthetic data.encoded=jpeg"])
def test_a_decoder_that_is_missing_is_refused(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Before a sweep's first job starts; only where it would decode, and was asked for."""
    monkeypatch.setattr("hpml.config.checks.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r'no simplejpeg is installed; pip install "hpml\[turbo\]"$'
    ):
        check(compose(*words.split(), "data.decoder=turbo"))
    check(compose(*words.split()))
    check(compose("data=synthetic", "data.decoder=turbo"))


LATE = "scheduler.milestones=[3, 4] has no effect in 2 epochs"
USELESS = [
    *("data.prefetch_factor=4", "data.persistent_workers=true", "device=cpu data.pin_memory=true"),
    *(
        "data.pipeline=device data.num_workers=2",
        "data.workers=threads",
        "data.augment=false data.flip=alternating",
        "data=image_folder data.augment=false data.crop=resized",
        "trainer.limit_val_batches=0 tta=true",
    ),
]


@pytest.mark.parametrize(
    ("overrides", "sentences"),
    [
        ("seed=1", []),  # nobody is warned of what they did not set
        ("+own=foo", ["own=foo has no effect: nothing in hpml reads it"]),
        ("scheduler=multistep trainer.max_epochs=2", [LATE]),
        *((useless, [f"{useless.split()[-1]} has no effect"]) for useless in USELESS),
        ("trainer.gradient_clip_algorithm=norm", ["trainer.gradient_clip_algorithm has no effect"]),
    ],
)
def test_a_useless_option_is_named(compose: Compose, overrides: str, sentences: list[str]) -> None:
    """What a user sets in vain."""
    unused = unused_keys(compose(*overrides.split()))
    for sentence, expected in zip(unused, sentences, strict=True):
        assert sentence.startswith(expected)


def test_what_workers_would_do_is_named_where_none_can_load(compose: Compose) -> None:
    """Not by a program that varies their number; on the device it is the pipeline that decides."""
    words = ("data.workers=threads", "data.prefetch_factor=4")
    cfg, on_device = compose(*words), compose(*words, "data.pipeline=device")
    told = sorted(words)
    assert sorted(unused_keys(cfg)) == [
        f"{word} has no effect without data.num_workers" for word in told
    ]
    for program in ("workers", "tune", "lab", "diagnose"):
        with open_dict(cfg):
            cfg[program] = {}
            assert (not [*unused_keys(cfg)]) == (program != "diagnose")
            del cfg[program]
    assert sorted(unused_keys(on_device)) == [
        f"{word} has no effect: data.pipeline=device loads nothing" for word in told
    ]


def test_a_useless_option_is_named_where_it_was_typed(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has a value anyway says nothing of who set it; a job of a sweep may have its keys."""
    words = ["data.timeout_s=9", "checkpoint.every_s=3", "trainer.enable_checkpointing=false"]
    words += ["sweep.timeout_s=60", "sweep.name=a"]
    cfg = compose(*words, typed=True)
    of_a_run = [
        "data.timeout_s=9 has no effect without data.num_workers",
        "checkpoint.every_s=3 has no effect with trainer.enable_checkpointing=false",
    ]
    of_a_sweep = [f"{word} has no effect without -m" for word in words[3:]]
    OmegaConf.set_readonly(HydraConfig.get(), False)
    HydraConfig.get().mode = RunMode.RUN
    assert [*unused_keys(cfg)] == of_a_run + of_a_sweep
    monkeypatch.setenv("HPML_SWEPT", "seed")
    assert [*unused_keys(cfg)] == of_a_run
    monkeypatch.delenv("HPML_SWEPT")
    HydraConfig.get().mode = RunMode.MULTIRUN  # of another launcher
    assert [*unused_keys(cfg)] == of_a_run


def test_the_fingerprint_is_about_what_is_computed(compose: Compose) -> None:
    """Paths, also in another value, names and loggers do not change it; the seed does."""

    def of(*overrides: str) -> str:
        return fingerprint(resolve(compose(*TINY, *overrides)))

    assert of("run_dir=elsewhere", "logger=csv") == of()
    assert of("sweep.name=another") == of()
    assert of("seed=1") != of()
    assert of("run_dir=a", "+own=${run_dir}/x") == of("run_dir=/b/c", "+own=${run_dir}/x")


def test_the_code_is_identified_unimported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own counts, wherever it lies; torch does not."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package" / "inner").mkdir(parents=True)
    source = tmp_path / "package" / "inner" / "own.py"
    source.write_text("raise AssertionError\n")
    ours, torchs = {"_target_": "hpml.models.small"}, {"_target_": "torch.optim.SGD"}
    theirs = {"_target_": "package.inner.own.network", "x": 1}
    plain = code_fingerprint({"model": ours})
    assert code_fingerprint({"model": ours, "optimizer": torchs}) == plain
    before = code_fingerprint({"model": theirs})
    assert before != plain
    assert code_fingerprint({"data": {"transforms": [theirs]}}) == before
    source.write_text("changed = True\n")
    assert code_fingerprint({"model": theirs}) not in (before, plain)


def test_a_mistyped_key_has_a_neighbour(compose: Compose) -> None:
    """The hint names the key that was probably meant, or none."""
    meant = {"data.batchsize": "data.batch_size", "batch_size": "data.batch_size"}
    meant |= {"optimzer.lr": "optimizer.lr", "trainer.epochs": "trainer.max_epochs"}
    # what is above it is there, and the group alone makes no two keys alike
    meant |= dict.fromkeys(["qwerty", "callbacks.early", "optimizer.eta", "optimizer.betas"])
    assert {typed: closest_key(compose(), typed) for typed in meant} == meant


def test_a_key_of_another_option_is_told() -> None:
    """Also where that option builds on another one."""
    assert options_with("optimizer.betas") == ["adam", "adamw"]
    assert options_with("optimizer.momentum") == ["nesterov", "rmsprop", "sgd"]
    assert options_with("data.encoded") == ["synthetic"]
    # a base of another folder is passed over
    assert options_with("hydra/hydra_logging.loggers") == ["hpml"]
    assert [*dotted_keys(OmegaConf.create({"a": {1: 2}}))] == ["a", "a.1"]
    assert options_with("model.nothing") == options_with("nowhere.lr") == options_with("lr") == []


def test_runs_of_one_second_get_directories_of_their_own(tmp_path: Path) -> None:
    """However many ask at once for the same one, each gets another; one that cannot be is named."""
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(fresh_dir, [f"{tmp_path}/a/b"] * 64))
    assert set(made) == {f"{tmp_path}/a/b", *(f"{tmp_path}/a/b-{k}" for k in range(2, 65))}
    with pytest.raises(UserError, match="cannot be made"):
        fresh_dir("/dev/null/runs/now")
    with pytest.raises(UserError, match=r"hydra.run.dir=\.: is there already"):
        fresh_dir(".")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20))
@example("INF")
@example("1e3")
@example("null")
@example("a\\'b\\")
def test_any_text_can_be_an_override(text: str) -> None:
    """Quotes and backslashes come through as they are."""
    assume("${" not in text)
    parsed = OverridesParser.create().parse_override(as_override("key", text))
    assert not isinstance(parsed.value(), bool | int | float | None)
    assert str(parsed.value()) == text
