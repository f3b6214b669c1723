"""train.py as a user meets it: help, refusals, results on stdout, what is kept and what is done again."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from visualdl import LogReader

import eval as evaluation
from tests.helpers.tiny_training import ROOT, run, write_images, write_recipe
from urnet.checkpoints.locate import locate, taken_inside


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.fixture(scope="module")
def finished(images):
    """One whole run of 8 steps: its recipe, stage folder and outcome."""
    recipe = write_recipe(images, duration="8 steps")
    done = run(recipe)
    assert done.returncode == 0, done.stderr
    return recipe, images / "output/tiny/class", done


def refusal(done) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    return done.stderr


HELP = """
import sys
import train
try:
    train.main(["--help"])
except SystemExit:
    heavy = {"paddle", "cv2", "pyarrow", "sklearn", "scipy", "visualdl"} & set(sys.modules)
    print(sorted(heavy), file=sys.stderr)
"""


def test_help_imports_nothing_heavy_and_can_be_followed():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == "[]\n"
    for word in (
        "-c RECIPE",
        "-o KEY=VALUE",
        "--resume",
        "--replace",
        "--stage NAME",
        "--until NAME",
        "--dry-run",
        "exit codes",
        "docs/recipes.md",
    ):
        assert word in done.stdout
    assert "python train.py -c recipes/digits_web.yaml" in done.stdout


def test_results_on_stdout_and_the_rest_on_stderr(finished):
    _, folder, done = finished
    state = json.loads((folder / "final/state.json").read_text())
    best, last = state["best"], state["last"]
    assert done.stdout.splitlines() == [
        f"stage class best top1:{best['top1']:.4f} top5:{best['top5']:.4f} step {best['step']}",
        f"stage class last top1:{last['top1']:.4f} top5:{last['top5']:.4f} step 8",
        f"checkpoint {folder}/final",
        f"log {folder}/log.txt",
        f"curves {folder.parent}/curves",
    ]
    assert "evaluation at step 8: top1" in done.stderr
    assert "Warning" not in done.stderr
    assert "OMP_NUM_THREADS" not in done.stderr and "amp" not in done.stderr  # nobody asked for it
    for name in ("best", "final"):
        files = {path.name for path in (folder / name).iterdir()}
        assert files == {
            "model.safetensors",
            "in_classes.safetensors",
            "state.json",
            "recipe.yaml",
        }  # no class names are known here


def test_the_end_says_which_checkpoint_to_use_and_how(finished, capfd):
    recipe, folder, done = finished
    use, predict, measure, export = done.stderr.splitlines()[-4:]
    assert use == f"use {folder}/final (the last weights; best/ was chosen on the validation images and flatters):"
    assert predict == f"  python infer.py --pretrained_model {folder}/final --img_path FOLDER"
    assert export == f"  python tools/export.py {folder.parent}  # for tools/serve.py"
    assert locate(folder.parent) == ("checkpoint", folder / "final")
    said = f"{folder.parent}: its class/final/ is used, the last weights of the run's last stage"
    assert taken_inside(folder.parent) == said
    python, program, *flags = shlex.split(measure)
    assert (python, program) == ("python", "eval.py")
    assert flags[2:] == ["--img_path", str(recipe.parent), "--img_list", str(recipe.parent / "val.txt")]
    capfd.readouterr()
    assert evaluation.main(flags) == 0
    assert (
        capfd.readouterr().out.splitlines()[-1] == done.stdout.splitlines()[1].split(" ", 3)[3].rpartition(" step")[0]
    )


def test_visualdl_reads_the_curves(finished):
    _, folder, _ = finished
    (log,) = (folder.parent / "curves").iterdir()
    reader = LogReader(file_path=str(log))
    tags = reader.get_tags()["scalar"]
    assert set(tags) >= {"train/loss", "lr", "images_per_s", "data_wait", "val/top1", "val/top5"}
    steps = [point.id for point in reader.get_data("scalar", "val/top1")]
    assert steps == [5, 8]
    points = [line.split(",") for line in (folder / "curves.csv").read_text().splitlines()[1:]]
    assert [int(p[0]) for p in points if p[1] == "lr"] == [2, 4, 6, 8]


def test_a_finished_run_is_kept(call, finished):
    recipe, folder, first = finished
    before = (folder / "final/model.safetensors").stat().st_mtime_ns
    for arguments in ((), ("--resume", "-o", "stages.class.log_every=1", "-o", "data.workers=1")):
        done = call("-c", recipe, *arguments)
        assert done.returncode == 0
        assert done.stdout == first.stdout
        assert "stage class: finished already, kept" in done.stderr
    assert (folder / "final/model.safetensors").stat().st_mtime_ns == before


def test_a_changed_recipe_runs_again_and_says_why_and_loses_nothing(call, finished, tmp_path):
    recipe, _, _ = finished
    elsewhere = ("-o", f"output={tmp_path}")
    assert call("-c", recipe, *elsewhere, "-o", "stages.class.duration=4 steps").returncode == 0
    folder = tmp_path / "tiny/class"
    before = (folder / "final/model.safetensors").read_bytes()
    changed = (*elsewhere, "-o", "stages.class.duration=3 steps")
    told = call("-c", recipe, *changed, "--dry-run")
    assert told.stdout == "stage class again: stages.class.duration was '4 steps', now '3 steps'\n"
    assert (folder / "final/model.safetensors").read_bytes() == before
    done = call("-c", recipe, *changed)
    assert done.returncode == 0, done.stderr
    aside = tmp_path / "tiny/replaced/class-1"
    assert (
        "stage class: runs again, as stages.class.duration was '4 steps', now '3 steps'; its earlier result is in "
        f"{aside}\n" in done.stderr
    )
    assert (aside / "final/model.safetensors").read_bytes() == before
    assert json.loads((folder / "final/state.json").read_text())["step"] == 3
    assert not (folder / "step-00000004").exists()
    done = call("-c", recipe, *changed, "-o", "seed=4", "--replace")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "tiny/replaced").iterdir()) == ["class-1"]


def test_an_unfinished_run_wants_a_word(call, finished, tmp_path):
    recipe, _, _ = finished
    arguments = ("-o", f"output={tmp_path}", "-o", "data.max_pixels=10")  # no image can be read
    assert call("-c", recipe, *arguments).returncode == 2
    told = refusal(call("-c", recipe, *arguments))
    assert f"{tmp_path}/tiny/class: holds an unfinished training; pass --resume" in told
    assert "--replace" in told


def test_two_trainings_in_one_folder_are_refused(call, finished):
    import fcntl

    recipe, folder, _ = finished
    with (folder.parent / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for more in ((), ("--dry-run",)):
            assert "another process is training there" in refusal(call("-c", recipe, *more))


def test_a_table_of_other_lists_is_refused(call, finished, tmp_path):
    recipe, _, _ = finished
    elsewhere = ("-o", f"output={tmp_path}", "-o", "stages.class.duration=3 steps")
    assert call("-c", recipe, *elsewhere).returncode == 0
    shorter = tmp_path / "shorter.txt"
    lines = (recipe.parent / "train.txt").read_text().splitlines(keepends=True)
    shorter.write_text("".join(lines[:-1]))
    told = refusal(call("-c", recipe, *elsewhere, "-o", f"data.train_list={shorter}"))
    assert (
        "tiny/table: the table was built differently: 61 training images then, 60 now; 1 removed: train/060.png" in told
    )
    assert "--replace builds the table again" in told and "-o name=ANOTHER" in told
    done = call("-c", recipe, *elsewhere, "-o", f"data.train_list={shorter}", "--replace")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: -c/--config"),
        (["-c", "no.yaml"], "no.yaml: cannot be read"),
        (["-c", "{recipe}", "-o", "seeed=1"], "unknown key seeed; nearest: seed"),
        (["-c", "{recipe}", "-o", "model.name=X"], "model.name: 'X' is not known; nearest: ResNeXt"),
        (["-c", "{recipe}", "--resume", "--replace"], "not allowed with argument"),
        (["-c", "{recipe}", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["-c", "{recipe}", "--lr", "0.1"], "the recipe has a key for this: -o 'stages.*.schedule.lr=VALUE'"),
        (["-c", "{recipe}", "--epochs=5"], "the recipe has a key for this: -o 'stages.*.duration=N epochs'"),
        (["-c", "{recipe}", "--model-name", "ResNet50"], "-o 'model.name=VALUE'"),
        (["-c", "{recipe}", "--weights", "x"], "give weights to start from with --init FILE"),
        (["-c", "{recipe}", "--dry_run"], "nearest: --dry-run"),
        (["-c", "{recipe}", "-o", "seed=1", "name=x"], "each KEY=VALUE needs its own -o: -o name=x"),
        (["{recipe}"], "give a recipe with -c "),
    ],
)
def test_usage(call, images, arguments, message):
    recipe = write_recipe(images, duration="8 steps")
    done = call(*[argument.format(recipe=recipe) for argument in arguments])
    assert message in refusal(done)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=/nowhere", "/nowhere"),
        ("data.val_list=/nowhere.txt", "/nowhere.txt"),
        ("device=gpu", "device: found 'gpu', but this Paddle"),
        ("stages.class.amp=bf16", "stages.class.amp: found 'bf16'"),
        ("output=/proc/nowhere", "/proc/nowhere/tiny: cannot be written"),
        ("model.channels_last=true", "model.channels_last: found true; it asked for"),
    ],
)
def test_bad_input_is_one_line(call, images, tmp_path, override, message):
    from urnet.runtime.precision import has_gpu

    if has_gpu() and override.split("=")[1] in ("gpu", "bf16"):
        pytest.skip("this machine has a GPU")
    recipe = write_recipe(images, duration="8 steps")
    assert message in refusal(call("-c", recipe, "-o", f"output={tmp_path}", "-o", override))
    assert not (tmp_path / "tiny/class").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("2", "found 2, but PADDLE_TRAINER_ID is not set; start several processes with"),
        ("two", "found 'two'; the launcher sets it to a number above 0"),
    ],
)
def test_half_of_the_launchers_variables_is_refused(call, images, monkeypatch, number, words):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", number)
    assert f"PADDLE_TRAINERS_NUM: {words}" in refusal(call("-c", write_recipe(images)))


def test_debug_shows_a_traceback(images):
    done = run(write_recipe(images), "-o", "seed=x", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_diverging_run_fails_with_exit_code_1(call, images, tmp_path):
    recipe = write_recipe(images, duration="30 steps", optimizer={"momentum": 0.9}, ema=None)
    rates = ("stages.class.schedule={lr: 100, name: constant}", "stages.class.optimizer.classifier_lr=1e30")
    done = call("-c", recipe, "-o", f"output={tmp_path}", *(word for rate in rates for word in ("-o", rate)))
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("failed: FloatingPointError: stage class, epoch 0, step ")
    assert not Path(tmp_path / "tiny/class/final").exists()
