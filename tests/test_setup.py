"""tools/setup.sh and the Makefile: one sentence for each thing that can be wrong, and no work where none is needed.

Each test copies the few files into a folder of its own. Stand-ins for python on a PATH of their own play the other
machine; only the test without a network makes a real .venv.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = "sh make dirname cat cksum grep sed tail mkdir rm flock find"
OTHER_PYTHON = '#!/bin/sh\ncase "$2" in *platform*) echo 3.13.2 ;; *) exit 1 ;; esac\n'
# a python of a fitting version: notes what it is asked to do; $PIP_SAYS and $IMPORT_SAYS make it fail
FITTING_PYTHON = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$*" in
*"pip install"*) if [ -n "$PIP_SAYS" ]; then echo "$PIP_SAYS"; exit 1; fi ;;
*"import cv2"*) if [ -n "$IMPORT_SAYS" ]; then echo "$IMPORT_SAYS"; exit 1; fi ;;
esac
"""

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("make"), reason="needs make and a POSIX shell")


class Machine:
    """A copy of the files that set up, on a PATH with only a few tools."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a copy"  # a name with a space, on purpose
        (self.root / "tools").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "tools/setup.sh"):
            shutil.copy(ROOT / name, self.root / name)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS.split():
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.calls = folder / "calls"
        self.environment = {"PATH": str(self.bin), "CALLS": str(self.calls), "HOME": str(folder), "LC_ALL": "C"}

    def write_program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def make(self, target: str = "setup", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "make"), target],
            cwd=self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def pip_installs(self) -> int:
        return self.calls.read_text().count("pip install") if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def half_made(machine: Machine) -> Machine:
    """A machine whose .venv has a fitting interpreter, but no sign that the set-up was finished."""
    machine.write_program(machine.root / ".venv/bin/python", FITTING_PYTHON)
    return machine


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that the script said on a failure; make's own closing line is left aside."""
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("target", ["demo", "test", "bench", "lint"])
def test_another_python_version_is_named_with_what_to_do(machine: Machine, target: str) -> None:
    machine.write_program(machine.bin / "python3", OTHER_PYTHON)
    said = sentence(machine.make(target))
    assert "needs Python 3.11 or 3.12" in said and "found 3.13.2" in said and "apt-get install" in said


def test_no_python_at_all(machine: Machine) -> None:
    assert "found none" in sentence(machine.make())


def test_the_first_fitting_python_is_taken(machine: Machine) -> None:
    machine.write_program(machine.bin / "python3.12", "#!/bin/sh\necho 'no such version is set' >&2\nexit 127\n")
    machine.write_program(machine.bin / "python3.11", OTHER_PYTHON)
    machine.write_program(machine.bin / "python3", FITTING_PYTHON)
    machine.make()
    assert f"-m venv {'.venv'}" in machine.calls.read_text()


def test_a_python_without_venv_and_pip_says_what_to_install(machine: Machine) -> None:
    bare = '#!/bin/sh\ncase "$2" in *import\\ sys*) ;; "") echo Python 3.11.2 ;; *) exit 1 ;; esac\n'
    machine.write_program(machine.bin / "python3", bare)
    assert "apt-get install python3-venv" in sentence(machine.make())


def test_without_a_network_one_sentence_and_no_ready_mark(machine: Machine) -> None:
    real = getattr(sys, "_base_executable", sys.executable)
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    result = machine.make(PYTHON=real, PIP_NO_CACHE_DIR="1", **unreachable)
    said = sentence(result)
    assert "cannot reach the package index" in said and "network" in said and ".venv/setup.log" in said
    assert len(result.stdout.splitlines()) == 1  # what pip says is in the log
    assert "127.0.0.1" in (machine.root / ".venv/setup.log").read_text()
    assert not (machine.root / ".venv/lipread-ready").exists()


def test_set_up_once_then_start_at_once(half_made: Machine) -> None:
    first = half_made.make("test")
    assert first.returncode == 0, first.stderr
    assert half_made.pip_installs() == 1
    half_made.calls.unlink()
    second = half_made.make("test")
    assert second.stdout == "" and half_made.calls.read_text().split() == ["-m", "pytest"]


@pytest.mark.parametrize("change", ["pyproject.toml", "moved", "interrupted"])
def test_a_change_leads_to_another_pass(half_made: Machine, change: str) -> None:
    half_made.make()
    if change == "pyproject.toml":
        (half_made.root / change).write_text((half_made.root / change).read_text() + "\n")
    elif change == "moved":
        half_made.root = half_made.root.rename(half_made.root.with_name("elsewhere"))
    else:
        (half_made.root / ".venv/lipread-ready").unlink()
    assert half_made.make().returncode == 0
    assert half_made.pip_installs() == 2


def test_a_half_installed_package_is_installed_again(half_made: Machine) -> None:
    packages = half_made.root / ".venv/lib/python3.11/site-packages"
    (packages / "torch-2.11.0.dist-info").mkdir(parents=True)
    (packages / "av-18.0.dist-info").mkdir()
    (packages / "av-18.0.dist-info/RECORD").touch()
    assert half_made.make().returncode == 0
    assert [path.name for path in packages.iterdir()] == ["av-18.0.dist-info"]


def test_an_interruption_says_how_to_go_on(half_made: Machine) -> None:
    waits = FITTING_PYTHON.replace("esac\n", "esac\ncase \"$*\" in *editable*) exec sleep 60 ;; esac\n")
    half_made.write_program(half_made.root / ".venv/bin/python", waits)
    (half_made.bin / "sleep").symlink_to(shutil.which("sleep") or "")
    command, pipe = [str(half_made.bin / "sh"), "tools/setup.sh"], subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=half_made.root, env=half_made.environment, stderr=pipe, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not half_made.pip_installs() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode != 0 and "run the same command again" in said
    assert not (half_made.root / ".venv/lipread-ready").exists()


@pytest.mark.parametrize("library", ["libGL.so.1", "libEGL.so.1", "libgthread-2.0.so.0"])
def test_a_missing_system_library_names_the_package(half_made: Machine, library: str) -> None:
    error = f"ImportError: {library}: cannot open shared object file: No such file or directory"
    said = sentence(half_made.make(IMPORT_SAYS=f"Traceback (most recent call last):\n{error}"))
    assert library in said and "apt-get install libgl1" in said
    assert half_made.make().returncode == 0  # once it is there, the same command goes on


def test_other_failures_of_pip(half_made: Machine) -> None:
    said = sentence(half_made.make(PIP_SAYS="OSError: [Errno 28] No space left on device"))
    assert "disk is full" in said and "GB" in said
    said = sentence(half_made.make(PIP_SAYS="ERROR: No matching distribution found for mediapipe"))
    assert "No matching distribution found for mediapipe" in said
    said = sentence(half_made.make(IMPORT_SAYS="ImportError: numpy.core.multiarray failed"))
    assert "delete the folder" in said


def test_the_demo_hands_over_any_file_name(half_made: Machine) -> None:
    half_made.make("demo", VIDEO="it's a; $(talk).mp4")
    assert half_made.calls.read_text().splitlines()[-1] == "-m lipread demo -- it's a; $(talk).mp4"
    half_made.make("demo")
    assert half_made.calls.read_text().splitlines()[-1] == "-m lipread demo"


def test_the_installed_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    import lipread
    import lipread.data

    assert lipread.__version__ == project["version"]
    assert (files("lipread") / "py.typed").is_file()
    assert (files("lipread.data") / "splits").is_dir()
    assert entry_points(group="console_scripts")["lipread"].value == project["scripts"]["lipread"]


def test_a_build_holds_recipes_weights_and_types(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source, built = tmp_path / "source", tmp_path / "built"
    for name in ("lipread", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build", "--build-lib", str(built)]
    result = subprocess.run(build, cwd=source, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = {Path("lipread/py.typed")}
    for folder in ("lipread", "data"):
        for path in (source / folder).rglob("*"):
            if path.is_file() and (path.suffix == ".py" or path.parent.name in ("splits", "weights")):
                expected.add(Path("lipread") / path.relative_to(source if folder == "data" else source / folder))
    assert expected <= {path.relative_to(built) for path in built.rglob("*")}
