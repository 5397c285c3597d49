"""What SECURITY.md says, run; and what our own sources may not contain."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.configurations import QUICK, ROOT
from helpers.programs import run_program
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted(path for top in ("hpml", "hydra_plugins") for path in (ROOT / top).rglob("*.py"))
RUN = ["hpml.train", *QUICK, "logger=none"]


def called(target: str, *arguments: Any, **settings: Any) -> dict[str, Any]:
    return {"_target_": target, "_args_": list(arguments), **settings}


# Hydra's policy

STOPPED = "os.system subprocess.run builtins.eval builtins.exec importlib.import_module pickle.load"
STOPPED += " runpy.run_path ctypes.CDLL os.remove shutil.rmtree"


@pytest.mark.parametrize("target", [*STOPPED.split(), "posix.system", "subprocess.os.system"])
def test_what_hydras_policy_stops(target: str) -> None:
    """SECURITY.md names it, and Hydra does not call it, whatever name leads to it."""
    leads_to = "os.system" if target.endswith(".system") else target
    assert f"`{leads_to}`" in SECURITY
    with pytest.raises(InstantiationException, match=rf"{leads_to}' .*is blocklisted"):
        instantiate(called(target, "true"))


def test_what_hydras_policy_does_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY.md names each; here each does something to a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = called("pathlib.Path", "written")
    (tmp_path / "theirs.py").write_text("open('imported', 'w').close()\ndef anything(): return 1\n")
    (tmp_path / "hubconf.py").write_text("open('hub', 'w').close()\ndef anything(): return 1\n")
    torch.save(Writes(), tmp_path / "any.pt")
    browser = called("webbrowser.GenericBrowser", [sys.executable, "-c", "open('browser', 'w')"])
    nodes = {
        "written": called("pathlib.Path.write_text", path, "text"),
        "copied": called("shutil.copy", "written", "copied"),
        "fetched": called("urllib.request.urlretrieve", (tmp_path / "written").as_uri(), "fetched"),
        "hub": called("torch.hub.load", str(tmp_path), "anything", source="local"),
        "unpickled": called("torch.load", "any.pt", weights_only=False),
        "browser": called("webbrowser.GenericBrowser.open", browser, "url"),
        "imported": called("theirs.anything"),
    }
    for name, node in nodes.items():
        assert not Path(name).exists()
        instantiate(node)
        assert Path(name).exists(), name
        assert name == "imported" or f"`{node['_target_']}`" in SECURITY
    instantiate(called("pathlib.Path.unlink", path))
    assert not Path("written").exists()
    assert "`pathlib.Path.unlink`" in SECURITY


class Writes:
    def __reduce__(self) -> Any:
        return open, ("unpickled", "w")


THEIRS = """# @package _global_
hydra:
  job_logging:
    handlers: {theirs: {class: logging.FileHandler, filename: logged}}
    root: {handlers: [theirs]}
  callbacks: {theirs: {_target_: theirs.Theirs}}
callbacks:
  theirs: {_target_: os.remove, path: victim}
"""
MODULE = """from hydra.experimental.callback import Callback
open("imported", "w").close()
class Theirs(Callback): pass
"""


@pytest.mark.stress
def test_what_a_configuration_folder_does(tmp_path: Path) -> None:
    """A stranger's `experiment` imports, logs where it likes, and lifts a part of the policy."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (tmp_path / "theirs.py").write_text(MODULE)
    (tmp_path / "victim").touch()
    command = ["-m", RUN[0], "--config-dir", "conf", *RUN[1:], "experiment=theirs"]
    (folder / "theirs.yaml").write_text(THEIRS)
    run_program(command, tmp_path, exit_code=2)
    assert {"imported", "logged", "victim"} <= {path.name for path in tmp_path.iterdir()}
    allowed = "  job: {env_set: {HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE: os.remove}}\n"
    (folder / "theirs.yaml").write_text(THEIRS.replace("hydra:\n", f"hydra:\n{allowed}"))
    run_program(command, tmp_path, exit_code=None)
    assert not (tmp_path / "victim").exists()
    for word in ("hydra.job.env_set", "hydra/job_logging", "hydra.callbacks", "--config-dir"):
        assert word in SECURITY
    (folder / "theirs.yaml").write_text("# @package _global_\nhydra: {searchpath: [file://x]}\n")
    done = run_program(command, tmp_path, exit_code=2)
    assert "hydra.searchpath is only supported from the primary config" in done.stdout + done.stderr


def test_what_the_environment_lists_cannot_be_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE` lifts the ban on files' removal, not on commands."""
    monkeypatch.setenv("HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "os.remove:os.system")
    for target, refusal in (("os.remove", "No such file"), ("os.system", "cannot be authorized")):
        with pytest.raises(InstantiationException, match=refusal):
            instantiate(called(target, "/there/is/none"))


def test_an_interpolation_reaches_the_record(tmp_path: Path) -> None:
    """A stranger's `${oc.env:…}` puts what the environment holds into files one may share."""
    command = ["-m", *RUN, "trainer.max_epochs=1", "+note=${oc.env:HPML_TOKEN}"]
    run_program(command, tmp_path, HPML_TOKEN="secretwords")
    record = next(tmp_path.rglob("record.json"))
    assert "secretwords" in record.read_text()
    assert "oc.env" in SECURITY


# Our sources


def dotted(node: ast.expr) -> str:
    """`torch.load` of the expression for it; the last name alone where a call is before it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


FORBIDDEN_MODULES = {
    *("pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"),
    *("urllib.request", "http.client", "requests", "httpx", "ftplib", "smtplib", "telnetlib"),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("torch.hub.load", "torch.hub.load_state_dict_from_url", "yaml.load", "yaml.unsafe_load"),
}


def offences(source: str) -> Iterator[str]:
    """What a module of ours may not contain."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{name}" for name in names} | {str(node.module)}
            if found := names & (FORBIDDEN_MODULES | {"torch.load", "numpy.load"}):
                yield f"imports {sorted(found)[0]}"
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node)
            if name.endswith("load_from_checkpoint") or name in ("pickle", "torch.hub"):
                yield name
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in FORBIDDEN_CALLS:
                yield f"calls {name}"
            if given.get("shell", "False") != "False":
                yield "gives a shell"
            if given.get("allow_pickle", "False") != "False":
                yield "allows pickles"
            loads = name == "torch.load" or "ckpt_path" in given
            if loads and given.get("weights_only") != "True":
                yield f"{name} without weights_only=True"


@pytest.mark.parametrize(
    "source",
    [
        *("torch.load(path)", "torch.load(path, weights_only=False)", "from torch import load"),
        *("torch.load(path, weights_only=trusted)", "import pickle", "from pickle import loads"),
        *("def f():\n    import cloudpickle as c", "Module.load_from_checkpoint(path)"),
        *("load = Module.load_from_checkpoint", "trainer.fit(module, ckpt_path=point)"),
        *("eval(text)", "exec(text)", "os.system(text)", "torch.hub.load('a', 'b')"),
        *("subprocess.run(text, shell=True)", "subprocess.run(text, shell=wanted)"),
        *("np.load(path, allow_pickle=True)", "import urllib.request"),
        "from urllib import request",
    ],
)
def test_an_offence_is_found(source: str) -> None:
    """The walk over our sources sees it."""
    assert list(offences(source))


def test_our_sources_execute_nothing_that_is_read() -> None:
    """Checkpoints load with weights_only alone; no pickle, no eval, no shell, no download."""
    found = {str(path.relative_to(ROOT)): list(offences(path.read_text())) for path in SOURCES}
    # the program that the user has typed, as Python itself would run it
    assert found.pop("hpml/watch/program.py") == ["calls compile", "calls exec"]
    assert {name: what for name, what in found.items() if what} == {}
    calls = [
        f"{path.name}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load"
    ]
    assert len(calls) == 1, calls  # safe_load.read is the one way


def test_tensorboard_stays_on_this_machine() -> None:
    """What we print or document leaves it on localhost, its default."""
    files = [*SOURCES, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    files += [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "scripts").glob("*.py")]
    texts = {path: path.read_text() for path in files}
    whole = "\n".join(text for path, text in texts.items() if path.name != "SECURITY.md")
    lines = re.findall(".*tensorboard.*--logdir.*", whole)
    assert len(lines) >= 2  # of one place of the sources, and of the documents
    assert not [line for line in lines if re.search("--(bind_all|host|port)", line)]
    assert not [path for path, text in texts.items() if "bind_all" in text and path.suffix != ".md"]


# The network

GUARD = """
import os, runpy, socket, sys

def guard(event, arguments):
    asks = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
    reaches = event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind")
    if asks or reaches and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        with open("network.log", "a") as log:
            log.write(f"{event} {arguments}\\n")
        raise RuntimeError(f"a network call: {event}")

sys.addaudithook(guard)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
IMPORTS_ALL = """
import importlib, pkgutil, hpml, hydra_plugins
for package in (hpml, hydra_plugins):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
        print(module.name)
"""
CONNECTS = """
import urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:9")
except Exception:
    pass
"""


def guarded(folder: Path, *words: str, code: str = "") -> tuple[str, str]:
    """Runs a module, or code in a new Python, without a network; its output and what it tried."""
    (folder / "guard.py").write_text(GUARD)
    if code:
        (folder / "code_of_test.py").write_text(code)
        command = [sys.executable, "guard.py", "code_of_test"]
        output = subprocess.check_output(command, cwd=folder, text=True)
    else:
        output = run_program(["guard.py", *words], folder).stdout
    log = folder / "network.log"
    return output, log.read_text() if log.exists() else ""


@pytest.mark.slow
def test_no_import_calls_the_network(tmp_path: Path) -> None:
    """Of no module of ours, nor of what they import; a call would be found if it is swallowed."""
    output, tried = guarded(tmp_path, code=IMPORTS_ALL)
    assert len(output.splitlines()) >= len(SOURCES) - 1  # hpml itself is imported before
    assert tried == ""
    assert "127.0.0.1" in guarded(tmp_path, code=CONNECTS)[1]


ONE_STEP = [*RUN, "logger=tensorboard", "callbacks=default", "trainer.max_steps=1"]


@pytest.mark.parametrize("words", [[RUN[0], "--help"], ONE_STEP], ids=["help", "one step"])
def test_no_run_calls_the_network(tmp_path: Path, words: list[str]) -> None:
    """Help, and a run on generated images with TensorBoard's curves."""
    assert guarded(tmp_path, *words)[1] == ""


# The dependencies

EXTRAS = PROJECT["project"]["optional-dependencies"]
DIRECT = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
OPTIONAL = [Requirement(line) for lines in EXTRAS.values() for line in lines]
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
NAMED = {one.name: one for one in [*DIRECT, *OPTIONAL, *BUILD] if one.name != "hpml"}
# what `pip install -e ".[dev]" -c constraints.txt` installs
EXTRA = [Requirement(line) for name in ("dev", "slurm") for line in EXTRAS[name]]
INSTALLED = [one.name for one in [*DIRECT, *BUILD, *EXTRA] if one.name != "hpml"]


def floor(requirement: Requirement) -> Version | None:
    floors = [one.version for one in requirement.specifier if one.operator in (">=", "==", "~=")]
    return max(map(Version, floors), default=None)


@pytest.mark.parametrize(
    ("name", "refused", "admitted"),
    [
        ("lightning", ["2.5.0", "2.6.2", "2.6.3", "2.6.5"], "2.6.6"),
        ("hydra-core", ["1.3.2", "1.3.7", "1.4.0"], "1.3.8"),
        ("torch", ["2.5.1", "2.10.0"], "2.11.0"),
        ("python", ["3.10.19"], "3.11.0"),
    ],
)
def test_known_holes_are_not_admitted(name: str, refused: list[str], admitted: str) -> None:
    """Malware, code execution by a checkpoint, no policy, no fixes; none may be of any age."""
    python = SpecifierSet(PROJECT["project"]["requires-python"])
    specifier = python if name == "python" else NAMED[name].specifier
    assert [*specifier.filter([*refused, admitted])] == [admitted]
    assert name == "python" or f"{name} {floor(NAMED[name])}" in SECURITY
    assert None not in map(floor, NAMED.values())


@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_pinned_and_installed_is_admitted(name: str) -> None:
    """As constraints.txt names it, and as installed, but for what pip builds with elsewhere."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = [floor(pin) for pin in pins if canonicalize_name(pin.name) == canonicalize_name(name)]
    assert len(pinned) == 1
    assert pinned[0] in NAMED[name].specifier
    if NAMED[name] not in BUILD:
        assert metadata.version(name) in NAMED[name].specifier
