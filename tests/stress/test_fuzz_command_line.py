"""Random command lines and configuration files: an answer in one line, no traceback, no hang."""

import contextlib
import io
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.configurations import TINY
from helpers.programs import run_program
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import hpml.train
from hpml.cli.program import run_hydra
from hpml.config.conf import dotted_keys, find_conf
from hpml.sweep.launcher import SweepLauncher

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]

LONGEST_S = 60


def listed(text: str, sign: str | None = None) -> list[str]:
    """The parts of a text, which a sign or a line's end divides."""
    return text.replace("\n", sign or " ").split(sign)


GROUPS = listed("data model optimizer scheduler trainer callbacks logger experiment hydra")
GROUPS += ["hydra/launcher", "hydra/job_logging", "hydra/hydra_logging", "hydra/help"]
OPTIONS = """none null default foo [sgd,adam] [] {} {lr:1} 1 ../model/small small synthetic adam
base_data basic sgd,adam true ä"""
OPTIONS = [*listed(OPTIONS), "", "'a b'"]
FINE = """seed=3 optimizer=adam model=small data=synthetic logger=csv scheduler=cosine +own.key=1
optimizer.lr=${data.val_split}1 device=cpu trainer.max_epochs=2 callbacks=none hydra.job.chdir=true
experiment=demo timing.sync=true resume=auto sweep.name=a data.mean=[0,0,0] -m seed=0,1
data=image_folder data.exif=apply data.background=[255,255,255] data.background=white"""
# paths, that are there or not, and what works in another folder; sweepers, there or not
FINE += """ data.root=. data.root=../of data.root=~/x data.root=http://a/b evaluate=nowhere
evaluate=. resume=nowhere resume=. resume=../nobody output_dir=a/b output_dir=. output_dir=/dev/x
trainer.default_root_dir=.. logger.tensorboard.save_dir=logs hydra.run.dir=mine hydra.run.dir=.
hydra.run.dir=a/../b hydra.job.chdir=true hydra.job.chdir=null hydra.output_subdir=null
hydra/sweeper=optuna hydra/sweeper=nevergrad hydra/sweeper=basic hydra.sweeper.max_batch_size=1
hydra.sweeper.n_trials=2 hydra.sweeper.direction=maximize hydra.sweeper.max_batch_size=-1
hydra.sweeper.params.seed='1,2' +hydra.sweeper.params.seed='1,2' hydra.sweep.subdir=x
hydra.sweep.dir=there hydra.sweep.dir=. sweep.name=a/b sweep.dry_run=true seed=interval(0,3)"""
FINE = listed(FINE)
# which Hydra's grammar admits
PLAIN = """-1 0 1 1.5 1e300 -1e-300 inf nan 0x10 1_000 abc null true TRUE ??? [] [1,2] {} {a:1}
[1,[2,{a:[b]}]] {a:{b:{c:[null]}}} {a:1,a:2} {1:2}
${seed} ${nothing} ${data.nothing} ${oc.env:HOME,x}
${oc.env:NOTHING} ${oc.nothing:1} ${hydra:nothing} ${hydra:job.num} ${now:%Q} ${data} ${model} '' ""
a${seed}b /dev/null/x ü 日本 %s ${trainer.max_steps} ${oc.dict.keys:data} int(x) float(1)"""
PLAIN = [*listed(PLAIN), "${..seed}", "9" * 400, "x" * 300, "'~nobody/x'", "' '", "a b", "'a,b'"]
PLAIN += ["'\u202eabc'"]
ODD = """1e --1 ~ ~nobody/x
[1,2 1] {a a} ( ) 'a a" a\\ a,b 1,2 a=b a:b @ $ ${ ${} ${seed } ${a.${b}}
${oc.env:} ${oc.decode:'[1'} ${oc.select:x,${seed}} ${now:} $seed range(0,3) range(3)
choice(1,2) choice() glob(*) interval(0,1) shuffle(1) str( json_str(1) sort(3,1) tag(a,b)
extend_list(1) - -- # ; | & * !!int <<"""
ODD = [*listed(ODD), "", "\u2028", "\t", "a\nb", "\udcff", "x" * 5000, "[" * 200, "{a:" * 50]
SIGNS = "abz019.,:=+-~@$%{}[]()'\"\\ #&*!?|<>é日\u0300"
PREFIXES = ["", "", "", "", "", "+", "++", "~", "~~", "+~", "-", "--", "@", " "]
OF_HYDRA = """-m;--multirun;--cfg job;--cfg all;--info defaults;--resolve;--run;-x;--cfg foo
--config-name nothing;--config-name=model/small;--config-dir nowhere"""
OF_HYDRA = listed(OF_HYDRA, ";")
ODD_YAML = """*nothing;!!python/object:os.system {};!!binary a;|;>-;&a;{a: &x [*x]};? ;: :;1:30;yes
2026-01-01;0o17;[[[;{{}};';@x;`x`;%x;- - -"""
ODD_YAML = [*listed(ODD_YAML, ";"), "[" * 2000]
TARGETS = listed("nowhere.Nothing;null;os;builtins.int;hpml.models.nothing;[a];..;", ";")
DEFAULTS = """[nothing];[a: b];null;5;[null];[{a: [b, c]}];[_self_, _self_];{};[odd];[/train]
[override data: small];[${nothing}];[{data: null}]"""
DEFAULTS = listed(DEFAULTS, ";")
WHOLE_FILES = "# nothing;null;5;[];[a, b];a;{};\ufeffa: 1;{1: 2};{null: 2};{true: x};\x00;"
WHOLE_FILES = [*listed(WHOLE_FILES, ";"), "---\na: 1\n---\nb: 2", "? [a]\n: b", "a: 1\na: 2"]
# words of a command beside TINY's, about a run that is complete and its checkpoint
ABOUT_A_RUN = """output_dir={run}
output_dir={run}/checkpoints
hydra.run.dir={run}/checkpoints
hydra.run.dir={run}/checkpoints/last.ckpt
hydra.run.dir={run} resume=auto
hydra.run.dir={run} optimizer.lr=-1
hydra.run.dir={run} data=image_folder data.root=nowhere
hydra.run.dir={run} +callbacks.mine._target_=nowhere.Nothing
hydra.run.dir={run} trainer.fast_dev_run=true
hydra.run.dir={run} evaluate={run}/checkpoints/last.ckpt
hydra.run.dir={run} resume={run}/checkpoints/last.ckpt
evaluate={run}
evaluate={run}/record.json
evaluate={run}/checkpoints/last.ckpt model=resnet18
resume={run}
resume={run}/checkpoints/last.ckpt
trainer.default_root_dir={run}
trainer.default_root_dir={run}/checkpoints/last.ckpt
logger=csv logger.csv.save_dir={run}/checkpoints
logger=tensorboard logger.tensorboard.save_dir={run}/checkpoints
hydra.job.chdir=true evaluate={run}/checkpoints/last.ckpt
hydra.job.chdir=true resume=run/checkpoints/last.ckpt
hydra.job.chdir=true evaluate=run/checkpoints/last.ckpt
hydra.job.chdir=true data=image_folder data.root=run data.train_samples=null data.test_samples=null
hydra.job.chdir=true hydra.output_subdir=../checkpoints hydra.run.dir={run}/sub
-m seed=0,1 hydra.sweep.dir={run}
-m seed=0,1 hydra.sweep.dir={run}/checkpoints
-m seed=0,1 hydra.sweep.dir={run} hydra.sweep.subdir=. hydra/launcher=basic""".splitlines()
# what starts processes of its own, or writes where it likes
NOT_HERE = ("slurm", "submitit", "joblib")


@dataclass
class Answer:
    """What the program said to one command line."""

    code: object
    out: str
    err: str
    seconds: float

    def amiss(self, allowed: Sequence[int]) -> str | None:
        """What is not as it should be."""
        lines = [line for line in self.err.splitlines() if "arning" not in line]
        begin = {1: "failed: ", 2: "error: "}.get(self.code, "")  # type: ignore[call-overload]
        told = [line for line in lines if line.startswith(begin) or f": {begin}" in line]
        if self.code not in allowed:
            return f"exit code {self.code}"
        if "Traceback" in self.out + self.err:
            return "a traceback"
        if begin and (len(told) != 1 or told[0].endswith(begin)):
            return f"{len(told)} lines of error"
        if begin and len(lines) != 1 and not lines[0].startswith("usage: "):
            return "more than a line"
        return f"{self.seconds:.0f} s" if self.seconds > LONGEST_S else None


Ask = Callable[[Sequence[str]], Answer]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Gives a command line to the program, which does all but train, in this process."""
    home = tmp_path / "home" / "of" / "nobody"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("hpml.training.run.run", lambda *given: None)
    monkeypatch.setattr(SweepLauncher, "_run", lambda *given: None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def ask(words: Sequence[str]) -> Answer:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        out, err = io.StringIO(), io.StringIO()
        begun = time.perf_counter()
        code: object = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run_hydra(hpml.train.job, "train")
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException as error:
                code = f"{type(error).__name__}: {error}"
        return Answer(code, out.getvalue(), err.getvalue(), time.perf_counter() - begun)

    yield ask
    root.handlers[:], root.level = handlers, level


def known_keys() -> list[str]:
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        cfg = hydra_compose("train", ["data=synthetic"], return_hydra_config=True)
    return list(dotted_keys(cfg))


def mutated(text: str, dice: random.Random) -> str:
    """A near miss: a sign dropped, doubled, put in, or two of them in the other order."""
    at = dice.randrange(len(text) + 1)
    changes = (
        text[:at] + text[at + 1 :],
        text[:at] + text[at : at + 1] * 2 + text[at + 1 :],
        text[:at] + dice.choice(SIGNS) + text[at:],
        text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
        text.replace(".", "/"),
        text.rpartition(".")[2],
        text.upper(),
    )
    return dice.choice(changes)


def an_override(keys: Sequence[str], dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.12:
        group = dice.choice(GROUPS)
        package = dice.choice(("", "", "", "@data", "@x.y", "@", ":a"))
        return f"{dice.choice(PREFIXES)}{group}{package}={dice.choice(OPTIONS)}"
    if kind < 0.18:
        return "".join(dice.choices(SIGNS, k=dice.randrange(12)))
    ours = [key for key in keys if not key.startswith("hydra")]
    key = dice.choice(ours if dice.random() < 0.8 else keys)
    if kind < 0.35:
        return f"{key}={dice.choice(PLAIN)}"
    if kind < 0.6:
        return dice.choice(FINE)
    if kind < 0.75:
        key = mutated(key, dice)
    value = dice.choice(PLAIN + ODD)
    if dice.random() < 0.15:
        value = "".join(dice.choices(SIGNS, k=dice.randrange(8)))
    if dice.random() < 0.1:
        value += "," + dice.choice(PLAIN + ODD)
    equals = "=" if dice.random() < 0.95 else dice.choice(("", "==", ":", " = "))
    return f"{dice.choice(PREFIXES)}{key}{equals}{value}"


def a_command(keys: Sequence[str], dice: random.Random) -> list[str]:
    count = dice.choice((1, 1, 1, 1, 2, 2, 3, 5))
    words = [an_override(keys, dice) for _ in range(count)]
    if dice.random() < 0.1:
        words.append(dice.choice(words))
    if dice.random() < 0.15:
        at = dice.randrange(len(words) + 1)
        words[at:at] = dice.choice(OF_HYDRA).split()
    return [word for word in words if not any(name in word for name in NOT_HERE)]


def broken_text(text: str, dice: random.Random) -> bytes:
    """A configuration file with something wrong in it, perhaps."""
    lines = text.splitlines()
    at = dice.randrange(len(lines))
    key = lines[at].partition(":")[0]
    value = dice.choice(PLAIN + ODD_YAML)
    changes = (
        lambda: text[: dice.randrange(len(text))],
        lambda: "\n".join([*lines[:at], " " * dice.randrange(1, 5) + lines[at], *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], lines[at].lstrip(), *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], "\t" + lines[at], *lines[at + 1 :]]),
        lambda: "\n".join([*lines, lines[at]]),
        lambda: "\n".join(lines[:at] + lines[at + 1 :]),
        lambda: "\n".join([*lines[:at], f"{key}: {value}", *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], f"- {lines[at]}", *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], f"{key}: &a {{b: *a}}", *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], mutated(lines[at], dice), *lines[at + 1 :]]),
        lambda: f"_target_: {dice.choice(TARGETS)}\n{text}",
        lambda: f"defaults: {dice.choice(DEFAULTS)}\n{text}",
        lambda: f"# @package {dice.choice(('_global_', 'x.y', '_group_', '??', ''))}\n{text}",
        lambda: dice.choice(WHOLE_FILES),
    )
    broken = dice.choice(changes)().encode("utf-8", "surrogatepass")
    if dice.random() < 0.15:
        at = dice.randrange(len(broken) + 1)
        broken = broken[:at] + dice.randbytes(dice.choice((1, 3))) + broken[at:]
    return broken


def files_of_conf() -> list[Path]:
    found = sorted(file.relative_to(find_conf()) for file in find_conf().rglob("*.yaml"))
    return [file for file in found if not any(name in str(file) for name in NOT_HERE)]


def test_odd_command_lines_are_answered_in_one_line(ask: Ask) -> None:
    """Each is refused with exit code 2 and one line that says why, or it makes a run."""
    dice, keys = random.Random(0), known_keys()
    outcomes, amiss, given = Counter[object](), [], 0
    while given < 3000:
        words = a_command(keys, dice)
        answer = ask(words)
        given += len(words)
        outcomes[answer.code] += 1
        if wrong := answer.amiss((0, 2)):
            amiss.append(f"{wrong}: {words!r:.500}: {answer.err!r:.500}")
    print(f"{given:,} words: {outcomes}")
    assert not amiss, "\n" + "\n".join(amiss)
    assert min(outcomes[0], outcomes[2]) > 100


def test_broken_configuration_files_are_answered_in_one_line(ask: Ask) -> None:
    """As options of one's own and in place of the whole configuration."""
    dice, files = random.Random(0), files_of_conf()
    outcomes, amiss = Counter[object](), []
    for number in range(800):
        file = dice.choice(files)
        mine = Path(f"mine{number}")
        broken = mine / file.parent / "odd.yaml"
        broken.parent.mkdir(parents=True)
        content = broken_text((find_conf() / file).read_text(), dice)
        broken.write_bytes(content)
        if len(file.parts) == 1 or dice.random() < 0.05:
            words = ["--config-dir", str(mine), "--config-name", str(broken.relative_to(mine))]
        else:
            words = ["--config-dir", str(mine), f"{file.parent}=odd"]
            words = [f"+{words.pop()}", *words] if dice.random() < 0.05 else words
        answer = ask(words)
        outcomes[answer.code] += 1
        if wrong := answer.amiss((0, 2)):
            amiss.append(f"{wrong}: {file}: {content!r:.900}: {answer.err!r:.500}")
    print(outcomes)
    assert not amiss, "\n" + "\n".join(amiss)
    assert min(outcomes[0], outcomes[2]) > 100


ONE_STEP = [*TINY, "trainer.max_epochs=1", "data.train_samples=32", "logger=none"]


def program(*words: str) -> Answer:
    """The program as a process."""
    begun = time.perf_counter()
    done = run_program(["-m", "hpml.train", *ONE_STEP, *words], Path.cwd(), exit_code=None)
    return Answer(done.returncode, done.stdout, done.stderr, time.perf_counter() - begun)


def test_processes_answer_in_one_line_and_keep_what_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else they are told of a run, no checkpoint of it becomes another."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    assert program(f"hydra.run.dir={run}").code == 0
    kept = {file: file.read_bytes() for file in run.rglob("*.ckpt")}
    assert kept
    dice, keys = random.Random(0), known_keys()
    commands = [words.format(run=run).split() for words in ABOUT_A_RUN]
    commands += [a_command(keys, dice) for _ in range(50 - len(commands))]
    outcomes, amiss = Counter[object](), []
    for words in commands:
        answer = program(*words)
        outcomes[answer.code] += 1
        wrong = answer.amiss((0, 1, 2))
        changed = [file.name for file, was in kept.items() if file.read_bytes() != was]
        if wrong or changed:
            amiss.append(f"{wrong or changed}: {words!r:.500}: {answer.err!r:.900}")
    print(outcomes)
    assert not amiss, "\n" + "\n".join(amiss)
    assert outcomes[0] > 5
