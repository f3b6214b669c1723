"""set_env.sh: installs once, keeps what the user set, fails with one line, leaves the shell as it was."""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import sys

import pytest

from tests.helpers.shell_repository import ROOT, Repository
from urnet.core.cpus import usable_cores

SOURCE = ". ./set_env.sh"
SHOW = 'echo "$? ${CUDA_VISIBLE_DEVICES-unset} ${FLAGS_fraction_of_gpu_memory_to_use-unset} ${OMP_NUM_THREADS-unset}"'
FIRST = ["venv", "pip install requirements.txt"]


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture(params=["sh", "bash"])
def shell(request):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_sourced_twice_installs_once(repository, shell):
    done = repository.shell(f"{SOURCE}; {SHOW}; {SOURCE}; {SHOW}; command -v python", shell=shell)
    expected = f"0 unset unset {usable_cores()}"
    assert done.stdout.splitlines() == [expected, expected, f"{repository.path}/.venv/bin/python"]
    assert repository.asked() == FIRST
    assert len(done.stderr.splitlines()) == 2  # making the environment, installing
    again = repository.shell(f"{SOURCE}; {SHOW}", shell=shell)  # another shell, another day
    assert (again.stdout.strip(), again.stderr) == (expected, "")
    assert repository.asked() == []


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_changed_requirements_are_installed_again(repository, name):
    repository.shell(SOURCE)
    with (repository.path / name).open("a") as stream:
        stream.write("# changed\n")
    repository.asked()
    repository.shell(f"{SOURCE}; {SOURCE}")
    assert repository.asked() == ["pip install requirements.txt"]


def test_development_requirements_come_when_asked_for(repository):
    repository.shell(SOURCE)
    repository.asked()
    repository.shell(SOURCE, URNET_DEV="1")
    repository.shell(SOURCE, URNET_DEV="1")
    assert repository.asked() == ["pip install .[dev]"]
    repository.shell(SOURCE)
    assert repository.asked() == []


def test_a_failed_installation_leaves_no_stamp(repository, shell):
    done = repository.shell(f"{SOURCE}; echo status $? ${{OMP_NUM_THREADS-unset}}", shell=shell, FAKE_PIP_STATUS="1")
    assert done.stdout == "status 1 unset\n"
    assert "pip could not install -r requirements.txt" in done.stderr.splitlines()[-1]
    assert not list((repository.path / ".venv").glob(".urnet*"))
    assert repository.asked() == FIRST
    assert repository.shell(SOURCE, shell=shell).returncode == 0
    assert repository.asked() == ["pip install requirements.txt"]


def test_what_the_user_exported_stays(repository):
    done = repository.shell(
        f"{SOURCE}; {SHOW}", CUDA_VISIBLE_DEVICES="", FLAGS_fraction_of_gpu_memory_to_use="0.5", OMP_NUM_THREADS="7"
    )
    assert done.stdout == "0  0.5 7\n"


@pytest.mark.parametrize(
    ("answer", "wish", "file", "gpus", "threads"),
    [
        (0, "", "requirements-gpu.txt", "0,1", "unset"),
        (9, "", "requirements.txt", "unset", str(usable_cores())),
        (0, "cpu", "requirements.txt", "unset", str(usable_cores())),
        (9, "gpu", "requirements-gpu.txt", "0", "unset"),
    ],
)
def test_the_gpu_requirements_where_nvidia_smi_answers(repository, answer, wish, file, gpus, threads):
    listed = "echo 'GPU 0: H100 (UUID: GPU-1)'; echo 'GPU 1: H100 (UUID: GPU-2)'; " if answer == 0 else ""
    repository.program("nvidia-smi", f"#!/bin/sh\n{listed}exit {answer}\n")
    done = repository.shell(f"{SOURCE}; {SHOW}", URNET_DEVICE=wish)
    assert repository.asked() == ["venv", f"pip install {file}"]
    assert done.stdout == f"0 {gpus} unset {threads}\n"


def test_changing_the_device_replaces_the_other_build_of_paddle(repository):
    for device in ("cpu", "gpu", "cpu"):
        assert repository.shell(SOURCE, URNET_DEVICE=device).returncode == 0
    assert repository.asked()[2:] == [
        *("pip uninstall paddlepaddle", "pip install requirements-gpu.txt"),
        *("pip uninstall paddlepaddle-gpu", "pip install requirements.txt"),
    ]


def test_an_active_environment_is_used(repository, tmp_path):
    active = tmp_path / "active one"
    repository.shell(f"python3 -m venv '{active}'")
    repository.asked()
    done = repository.shell(f"{SOURCE}; command -v python", VIRTUAL_ENV=str(active))
    assert done.stdout == f"{active}/bin/python\n"
    assert repository.asked() == ["pip install requirements.txt"]
    assert not (repository.path / ".venv").exists()


def test_the_callers_shell_stays_as_it_was(repository, shell):
    state = "{ set +o; pwd; alias; set | sed 's/=.*//' | grep -i urnet; typeset -F 2>/dev/null; }"
    line = f'set -u; set -C; x=$({state}); {SOURCE}; y=$({state}); [ "$x" = "$y" ] && echo same'
    done = repository.shell(line, shell=shell)
    assert done.stdout == "same\n", done.stderr
    assert repository.shell(f"set -eu; {SOURCE}; {SOURCE}; echo alive", shell=shell).stdout == "alive\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PYTHON": "python-of-nowhere"}, "python-of-nowhere was not found; Python 3.10 to 3.13 is needed"),
        ({"FAKE_VERSION": "3.9"}, "python3 is Python 3.9; 3.10 to 3.13 is needed"),
        ({"FAKE_VERSION": "3.14"}, "python3 is Python 3.14; 3.10 to 3.13 is needed"),
        ({"FAKE_VERSION": "2.7"}, "python3 is Python 2.7; 3.10 to 3.13 is needed"),
        ({"FAKE_VENV_STATUS": "1"}, "python3 has no venv module with pip"),
        ({"VIRTUAL_ENV": "/gone"}, "/gone/bin/python was not found"),
    ],
)
def test_a_python_that_does_not_do_is_one_line(repository, shell, settings, message):
    done = repository.shell(f"{SOURCE}; echo status $?", shell=shell, **settings)
    assert done.stdout == "status 1\n"  # and the shell lives on
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (repository.path / ".venv").exists()


def test_where_the_repository_is(repository, tmp_path):
    script = f"'{repository.path}/set_env.sh'"
    show = 'echo "$VIRTUAL_ENV"'
    for line, program in ((f". {script}", "bash"), (f"URNET_ROOT='{repository.path}'; . {script}", "sh")):
        done = repository.shell(f"{line}; {show}", shell=program, cwd=tmp_path)
        assert done.stdout == f"{repository.path}/.venv\n"
    if "dash" in os.path.realpath(shutil.which("sh")):  # bash knows where a sourced file lies
        lost = repository.shell(f". {script} || echo lost", cwd=tmp_path)
        assert lost.stdout == "lost\n"
        assert lost.stderr == "set_env.sh: source it from the repository's folder, or set URNET_ROOT to that folder\n"


def test_a_real_environment_in_a_folder_with_spaces(repository):
    """The genuine venv, pip and activate; the requirements are empty, so that no network is needed."""
    (repository.bin / "python3").unlink()
    (repository.path / "requirements.txt").write_text("# nothing\n")
    line = f"set -eu; {SOURCE}; {SOURCE}; {SHOW}; python -c 'import sys; print(sys.prefix)'; deactivate"
    done = repository.shell(line, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"0 unset unset {usable_cores()}", f"{repository.path}/.venv"]


def test_an_environment_whose_python_is_gone_is_made_anew(repository):
    repository.shell(SOURCE)
    assert repository.asked() == FIRST
    (repository.path / ".venv/bin/python").unlink()
    assert repository.shell(f"{SOURCE} && python -c 1").returncode == 0
    assert repository.asked() == FIRST


def test_a_moved_copy_is_installed_in_place_again(repository, tmp_path):
    """The environment may be one that several copies share: what it imports is the copy that was sourced last."""
    active = tmp_path / "shared"
    repository.shell(f"python3 -m venv '{active}'")
    other = tmp_path / "other"
    shutil.copytree(repository.path, other)
    repository.asked()
    for copy in (repository.path, other, other):
        repository.shell(SOURCE, cwd=copy, VIRTUAL_ENV=str(active))
    assert repository.asked() == ["pip install requirements.txt"] * 2


def test_the_requirement_files_agree():
    texts = [(ROOT / name).read_text().splitlines() for name in ("requirements.txt", "requirements-gpu.txt")]
    paddle = [line.replace("-gpu", "") for lines in texts for line in lines if line.startswith("paddlepaddle")]
    assert len(paddle) == 2 and len(set(paddle)) == 1
    assert all("--editable ." in lines for lines in texts)


def test_every_import_is_declared():
    """The packages that the code imports are those of pyproject.toml, and Paddle of the requirements files."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = list(itertools.chain(project["dependencies"], *project["optional-dependencies"].values()))
    names = {re.match(r"[A-Za-z0-9_-]+", text)[0].lower() for text in declared} | {"paddlepaddle"}
    known_as = {"cv2": "opencv-python-headless", "yaml": "pyyaml", "sklearn": "scikit-learn", "paddle": "paddlepaddle"}
    known_as |= {"material": "mkdocs-material", "python_multipart": "python-multipart", "PIL": "pillow"}
    known_as |= {"nvidia": "nvidia-dali-cuda120"}
    files = [*(ROOT / "urnet").rglob("*.py"), *(ROOT / "models").glob("*.py"), *(ROOT / "tools").rglob("*.py")]
    files += [*(ROOT / "data").glob("*.py"), *ROOT.glob("*.py")]
    ours = {"urnet", "models", "tools", *(path.stem for path in (ROOT / "data").glob("*.py")), "infer", "train", "eval"}
    imported = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    others = imported - ours - set(sys.stdlib_module_names)
    assert {known_as.get(name, name) for name in others} <= names
