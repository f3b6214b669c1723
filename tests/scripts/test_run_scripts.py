"""run.sh and tests/run.sh: which programs they call, with which arguments, and what becomes of a failure."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.helpers.shell_repository import ROOT, Repository
from urnet.core.cpus import usable_cores

FLAGS = (
    "--model ResNet8_small32 --pretrained_model output/digits_web/label/final --class_dim 10 "
    "--image_shape 3,32,32 --img_path data/digits_web/val_images_resized "
    "--img_list data/digits_web/info/val_filelist.txt --use_gpu False"
)

# Stands for the programs that run.sh calls: notes its arguments, prints documented lines, fails if told to.
PROGRAM = """
import os, pathlib, sys
name = pathlib.Path(sys.argv[0]).name
with open(os.environ["FAKE_LOG"], "a") as log:
    print(name, *sys.argv[1:], file=log)
if name == os.environ.get("FAKE_FAILING"):
    sys.exit(int(os.environ.get("FAKE_STATUS", 1)))
if name == "train.py":
    pathlib.Path("output/digits_web").mkdir(parents=True, exist_ok=True)
    print("stage class last top1:0.8000 top5:0.9000 step 4\\nstage label last top1:0.9100 top5:0.9900 step 8")
    print("checkpoint somewhere")
if name == "eval.py":
    print("arguments\\ntop1:0.9100 top5:0.9900")
if name == "infer.py":
    for i in range(9):
        print(f"Test-{i}-score: [0.9{i}], class [{i}]")
"""


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path)
    for name in ("train.py", "eval.py", "infer.py", "data/make_digits_web.py", "tools/report.py"):
        (repository.path / name).parent.mkdir(exist_ok=True)
        (repository.path / name).write_text(PROGRAM)
    repository.shell(". ./set_env.sh", URNET_DEV="1")
    repository.asked()
    return repository


def test_the_embedded_example(repository, tmp_path):
    done = repository.shell("sh 'my copy/run.sh'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert repository.asked() == [
        "make_digits_web.py --out data/digits_web",
        "train.py -c recipes/digits_web.yaml --resume",
        f"eval.py {FLAGS}",
        f"infer.py {FLAGS} --output output/digits_web/predictions.csv",
        "report.py --run output/digits_web --out output/digits_web/report.html "
        "--suspects output/digits_web/suspects.csv",
    ]
    stages, lines = done.stdout.splitlines()[:2], done.stdout.splitlines()[2:]
    assert [line.split()[1] for line in stages] == ["class", "label"]
    assert lines[0] == "top1:0.9100 top5:0.9900"
    assert lines[1:6] == [f"Test-{i}-score: [0.9{i}], class [{i}]" for i in range(5)]
    out = f"{repository.path}/output/digits_web"
    places = {
        "evaluation": "eval.txt",
        "checkpoint": "label/final",
        "predictions": "predictions.csv",
        "curves": "curves",
        "suspects": "suspects.csv",
        "report": "report.html",
    }
    assert [line.split()[0] for line in lines[6:]] == list(places)
    assert all(f"{out}/{place}" in line for line, place in zip(lines[6:], places.values(), strict=True))


@pytest.mark.parametrize("failing", ["make_digits_web.py", "train.py", "eval.py", "infer.py", "report.py"])
@pytest.mark.parametrize("status", [2, 143])
def test_a_failure_inside_is_a_failure_outside(repository, failing, status):
    done = repository.shell("sh run.sh", FAKE_FAILING=failing, FAKE_STATUS=str(status))
    assert done.returncode == status
    assert repository.asked()[-1].startswith(failing)  # nothing runs after it
    assert done.stdout == ""


def test_an_evaluation_without_its_line_is_a_failure(repository):
    (repository.path / "eval.py").write_text("print('nothing of the kind')")
    done = repository.shell("sh run.sh")
    assert done.returncode == 1
    assert "output/digits_web/eval.txt holds no evaluation line" in done.stderr


def test_the_released_network_where_it_is_in_place(repository):
    for folder in ("ckpt/ResNeXt101_32x4d_Release", "data/val"):
        (repository.path / folder).mkdir(parents=True)
    done = repository.shell("sh run.sh")  # the list is missing still
    assert repository.asked()[0].startswith("make_digits_web.py")
    assert "the released checkpoint is here, but these are missing: data/val_list.txt" in done.stderr
    (repository.path / "data/val_list.txt").write_text("a.jpg 0\n")
    assert repository.shell("sh run.sh").returncode == 0
    assert repository.asked() == [
        "infer.py --model ResNeXt101_32x4d --pretrained_model ./ckpt/ResNeXt101_32x4d_Release/ "
        "--class_dim 5000 --img_path ./data/val/ --img_list ./data/val_list.txt --use_gpu True"
    ]
    assert repository.shell("sh run.sh", FAKE_FAILING="infer.py", FAKE_STATUS="2").returncode == 2


def test_a_recipe_and_its_options_go_to_train(repository, tmp_path):
    (repository.path / "recipes").mkdir()
    (repository.path / "recipes/x.yaml").write_text("name: x\n")
    (tmp_path / "my own.yaml").write_text("name: y\n")
    script = f"sh '{repository.path}/run.sh'"
    options = "-o 'stages.class.duration=2 epochs' --resume"
    assert repository.shell(f"{script} recipes/x.yaml {options}", cwd=tmp_path).returncode == 0
    assert repository.shell(f"{script} 'my own.yaml'", cwd=tmp_path).returncode == 0
    assert repository.asked() == [
        "train.py -c recipes/x.yaml -o stages.class.duration=2 epochs --resume",
        f"train.py -c {tmp_path}/my own.yaml",
    ]
    failing = repository.shell(f"{script} recipes/x.yaml", FAKE_FAILING="train.py", FAKE_STATUS="2")
    assert failing.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--epochs 3", "found '--epochs'; a recipe (*.yaml) or --help is accepted"),
        ("recipes/none.yaml", "recipes/none.yaml: no such recipe"),
    ],
)
def test_bad_usage_is_one_line_before_any_set_up(repository, arguments, message):
    shutil.rmtree(repository.path / ".venv")
    done = repository.shell(f"sh run.sh {arguments}")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert repository.asked() == []


def test_help_needs_no_set_up(repository):
    shutil.rmtree(repository.path / ".venv")
    done = repository.shell("sh run.sh --help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: sh run.sh")
    assert repository.asked() == []


@pytest.mark.parametrize("script", ["run.sh", "tests/run.sh"])
def test_a_failed_set_up_stops_everything(repository, script):
    (repository.path / "pyproject.toml").write_text("# something else\n")
    done = repository.shell(f"sh {script}", FAKE_PIP_STATUS="1")
    assert done.returncode == 1
    assert repository.asked() == ["pip install requirements.txt"]


WORKERS = min(usable_cores(), 4) + 2
PYTEST = f"module pytest -n {WORKERS} --dist loadfile --no-loadscope-reorder -m not slow"
CHECKS = ["module ruff check .", "module ruff format --check .", "lint-imports --no-logo", "module mypy"]
ALL = sorted([*CHECKS, PYTEST])  # mypy runs beside the tests


def test_every_check_runs_and_arguments_go_to_pytest(repository, tmp_path):
    done = repository.shell("sh 'my copy/tests/run.sh' tests/test_x.py -k 'a b'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(repository.asked()) == sorted([*CHECKS, f"{PYTEST} tests/test_x.py -k a b"])
    assert done.stdout.endswith("all passed\n")


@pytest.mark.parametrize(
    ("failing", "named"),
    [("ruff", "ruff-check ruff-format"), ("lint-imports", "imports"), ("mypy", "mypy"), ("pytest", "pytest")],
)
def test_one_failing_check_fails_the_run_but_stops_none(repository, failing, named):
    done = repository.shell("sh tests/run.sh", FAKE_FAILING=failing)
    assert done.returncode == 1
    assert sorted(repository.asked()) == ALL
    assert done.stderr == f"failed: {named}\n"


def test_continuous_integration_calls_the_same_command(repository, tmp_path):
    (repository.path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", repository.path / ".ci/run")  # with its executable bit
    done = repository.shell("'my copy/.ci/run'", cwd=tmp_path, FAKE_FAILING="mypy")
    assert done.returncode == 1
    assert sorted(repository.asked()) == ALL


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_every_script_is_posix_shell(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    folders = (".", "tests", "data", "tools")
    scripts = [path for folder in folders for path in sorted((ROOT / folder).glob("*.sh"))]
    assert len(scripts) >= 6
    for script in scripts:
        options = ["--posix"] if shell == "bash" else []
        checked = subprocess.run([shell, *options, "-n", str(script)], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, ""), script
