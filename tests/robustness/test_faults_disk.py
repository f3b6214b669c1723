"""A full disk, a limit on files, a place that may not be written: one line, nothing lost, and --resume."""

import errno
import re
import tempfile
from pathlib import Path

import pytest
from visualdl import LogReader

import infer
import train
from tests.helpers.faults import assert_same_bytes, before, disk, locked, make_web, place, prediction, write_recipe
from tools import report
from urnet.core import cli
from urnet.training.curves import Curves

FULL = {"limit": "File too large", "fill": "No space left on device"}
ERRORS = {"limit": errno.EFBIG, "fill": errno.ENOSPC}
REFUSED = "Permission denied|Read-only file system"
FAULTS = {  # in the order of a run: just before which operation the disk is full, and what is then named
    "base.arrow": ("open */table/.base.arrow.*", "table/base.arrow"),
    "what a stage is begun with": ("open */class/.inputs.json.*", "class/inputs.json"),
    "new logs": ("open */class/log.txt", "class/curves.csv|class/log.txt"),
    "first checkpoint": ("os.mkdir */class/.step-00000001.*", "class/step-00000001/model.safetensors"),
    "growing logs": ("os.rename TO */class/step-00000001", "class/log.txt|class/step-00000002/model.safetensors"),
    "list of unreadable images": ("open */class/.unreadable.txt.*", "class/unreadable.txt"),
    "half a checkpoint": ("open */class/.step-00000003.*/state.json", "class/step-00000003"),
    "last weights": ("os.mkdir */class/.final.*", "class/final/model.safetensors"),
    "what is measured": ("open */measure/cluster/.measurement.json.*", "measure/cluster/measurement.json"),
    "shard of a measurement": ("os.mkdir */measure/cluster/.shard-*", "features.npy"),
    "column file": ("open */table/.cluster.arrow.*", "table/cluster.arrow"),
    "recipe of a stage": ("open */instance/.recipe.yaml.*", "instance/recipe.yaml"),
    "best weights": ("os.mkdir */instance/.best.*", "instance/best/model.safetensors"),
    "column file of bags": ("open */table/.bag.arrow.*", "table/bag.arrow"),
    "columns of targets": ("open */table/.label.arrow.*", "table/label.arrow"),
    "very last weights": ("os.mkdir */label/.final.*", "label/final/model.safetensors"),
}
GROWING = ("log.txt", "curves.csv", "unreadable.txt", "vdlrecords")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of images, and that of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    make_web(folder / "web")
    assert cli.run(train.main, ["-c", str(write_recipe(folder, folder / "web"))]) == 0
    return folder / "web", folder / "output/five"


END = ("use ", "  python ")  # the last words of train.py: which checkpoint, and how


def call(capsys, main, *arguments):
    """Exit code, and what is on stderr beside the tidings of a training that goes well."""
    capsys.readouterr()
    code = cli.run(main, [str(argument) for argument in arguments])
    lines = capsys.readouterr().err.splitlines()
    usual = ("evaluation at step", "stage ", "unreadable, weight 0", "1 of 36 rows are unreadable", "infer: ", *END)
    lines = [line for line in lines if "vdlrecords" not in line]  # a curve's end is a note of its own
    return code, [line for line in lines if not line.startswith(usual)]


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name but those that grow while a run goes on."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(GROWING)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_intact(folder: Path, then: dict[str, bytes]) -> None:
    """The files of ``then`` are as they were; only old checkpoints and used measurements may have gone."""
    now = contents(folder)
    assert [name for name in then if now.get(name, then[name]) != then[name]] == []
    assert [name for name in then if name not in now and not re.search("/(step-|measure/)", name)] == []
    assert [path for path in folder.rglob(".*") if path.name != ".lock"] == []
    assert all(path.read_text().endswith("\n") for path in folder.rglob("log.txt") if path.stat().st_size)


@pytest.mark.parametrize("kind", list(FULL))
def test_a_full_disk_is_one_line_and_costs_nothing(whole, tmp_path, capsys, kind):
    web, expected = whole
    folder, then = tmp_path / "disk", {}
    with disk(kind, folder) as (full, free):
        arguments = ["-c", write_recipe(folder, web), "--resume"]
        for what, (pattern, named) in FAULTS.items():
            happened = before(pattern, full)
            code, lines = call(capsys, train.main, *arguments)
            free()
            assert happened(), what
            assert (code, len(lines)) == (1, 1), (what, lines)
            assert lines[0].startswith("failed: OSError: ") and FULL[kind] in lines[0], what
            assert re.search(named, lines[0]), (what, lines)
            assert_intact(folder / "output", then)
            then = contents(folder / "output")
        assert call(capsys, train.main, *arguments) == (0, [])
        assert_same_bytes(folder / "output/five", expected)


@pytest.mark.parametrize("kind", list(FULL))
@pytest.mark.parametrize(
    "tool", ["predictions.csv", "predictions.jsonl", "predictions.arrow", "report.html", "suspects.csv"]
)
def test_results_are_old_or_new(whole, tmp_path, capsys, kind, tool):
    web, expected = whole
    with disk(kind, tmp_path / "disk") as (full, free):
        out = tmp_path / "disk" / tool
        main, arguments = infer.main, prediction(expected, web, out)
        if not tool.startswith("predictions"):
            page = out if tool == "report.html" else tmp_path / "report.html"
            main, arguments = report.main, ["--run", expected, "--out", page]
            arguments += ["--suspects", out] if tool == "suspects.csv" else []
        out.write_text("the old ones")
        happened = before(f"open */disk/.{tool}.*", full)
        code, lines = call(capsys, main, *arguments)
        free()
        assert happened()
        assert (code, lines[-1]) == (1, f"failed: OSError: [Errno {ERRORS[kind]}] {FULL[kind]}: '{out}'")
        assert out.read_text() == "the old ones"
        assert [path.name for path in out.parent.iterdir()] == [tool]
        assert call(capsys, main, *arguments)[0] == 0
        assert out.read_bytes() != b"the old ones"


def test_an_inference_program_that_does_not_fit_is_told_as_such(whole, tmp_path, capsys, monkeypatch):
    """Paddle writes a shorter one and says nothing."""
    web, expected = whole
    with disk("fill", tmp_path / "disk") as (full, free):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        monkeypatch.setenv("URNET_CACHE", "")  # what is kept of earlier runs needs no room
        arguments = [*prediction(expected, web, tmp_path / "p.csv"), "--engine", "inference"]
        full()
        code, lines = call(capsys, infer.main, *arguments)
        free()
        assert (code, len(lines)) == (1, 1), lines
        assert re.fullmatch(f"failed: OSError: .*{FULL['fill']}: '{tmp_path}/disk/urnet-.*'", lines[0]), lines
        assert not (tmp_path / "p.csv").exists() and list((tmp_path / "disk").iterdir()) == []
        assert call(capsys, infer.main, *arguments)[0] == 0


@pytest.mark.parametrize("kind", list(FULL))
def test_curves_end_with_a_whole_point(tmp_path, kind):
    with disk(kind, tmp_path / "disk") as (full, free):
        folder = tmp_path / "disk"
        curves = Curves(folder / "curves.csv", folder / "curves", 0, note=lambda text: None)
        for step in range(100):  # more than the page that a small file has anyway
            curves.add(step, {"lr": 0.5, "train/loss": 1 / (step + 1)})
        held = (folder / "curves.csv").read_text()
        full()
        with pytest.raises(OSError, match=FULL[kind]) as caught:
            for step in range(100, 300):
                curves.add(step, {"lr": 0.5, "train/loss": 1 / (step + 1)})
        free()
        curves.close()
        assert caught.value.filename == str(folder / "curves.csv")
        text = (folder / "curves.csv").read_text()
        assert text.startswith(held) and text.endswith("\n")
        last = int(text.splitlines()[-1].split(",")[0])
        (log,) = (folder / "curves").iterdir()
        steps = [point.id for point in LogReader(file_path=str(log)).get_data("scalar", "lr")]
        assert steps == list(range(len(steps))) and 100 <= len(steps) <= last + 1


def test_a_full_disk_costs_the_visualdl_log_but_never_the_run(tmp_path):
    """One note, no point is lost from curves.csv, and the next start writes the log anew."""
    notes: list[str] = []
    with disk("fill", tmp_path / "disk") as (full, free):
        folder, csv = tmp_path / "disk/curves", tmp_path / "curves.csv"
        for start, end in ((0, 300), (300, 400)):
            curves = Curves(csv, folder, start, note=notes.append)
            if start == 0:
                full()
            for step in range(start + 1, end + 1):
                curves.add(step, {"lr": 0.5, "train/loss": 1 / step})
            free()
            curves.close()
        (log,) = folder.iterdir()
        assert len(notes) == 1 and re.fullmatch(
            f"note: {folder}/vdlrecords.*{FULL['fill']}.*{csv} has all points", notes[0]
        )
        steps = [point.id for point in LogReader(file_path=str(log)).get_data("scalar", "lr")]
        assert steps == list(range(1, 401))
        assert len(csv.read_text().splitlines()) == 801


# --- places that may not be written


PLACES = ["modes", "file system"]


@pytest.mark.parametrize("kind", PLACES)
def test_an_output_that_may_not_be_written_is_refused_at_once(whole, tmp_path, capsys, kind):
    web, _ = whole
    with place(kind, tmp_path / "disk") as folder:
        recipe = write_recipe(folder, web)
        with locked(kind, folder):
            code, lines = call(capsys, train.main, "-c", recipe)
        assert (code, len(lines)) == (2, 1)
        assert re.fullmatch(f"error: {folder}/output/five: cannot be written \\(({REFUSED})\\)", lines[0]), lines
        assert [path.name for path in folder.iterdir()] == ["five.yaml"]


@pytest.mark.parametrize("kind", PLACES)
def test_a_run_that_may_not_be_written_loses_nothing(whole, tmp_path, capsys, kind):
    """Between two stages all of it, then each of the folders that the next stage writes to."""
    web, expected = whole
    with place(kind, tmp_path / "disk") as folder:
        recipe = write_recipe(folder, web)
        assert call(capsys, train.main, "-c", recipe, "--until", "class") == (0, [])
        home, then = folder / "output/five", contents(folder)
        places = {home: "measure/cluster/measurement.json", home / "table": "table/cluster.arrow"}
        for where, named in places.items() if kind == "modes" else [(folder, ".lock|five")]:
            with locked(kind, where):
                code, lines = call(capsys, train.main, "-c", recipe, "--resume")
            assert (code, len(lines)) == (2, 1), lines
            assert re.fullmatch(f"error: .*/({named}): .*\\(({REFUSED})\\)", lines[0]), lines
            assert_intact(folder, then)
        assert call(capsys, train.main, "-c", recipe, "--resume") == (0, [])
        assert_same_bytes(home, expected)


def test_an_output_that_is_a_file_or_below_one(whole, tmp_path, capsys):
    web, _ = whole
    recipe = write_recipe(tmp_path, web)
    (tmp_path / "file").write_text("kept")
    for output in ("file", "file/below", "file/below/it"):
        code, lines = call(capsys, train.main, "-c", recipe, "-o", f"output={tmp_path / output}")
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith(f"error: {tmp_path / output}/five: cannot be written (Not a directory)")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("kind", PLACES)
def test_results_are_refused_before_they_are_computed(whole, tmp_path, capsys, kind):
    web, expected = whole
    with place(kind, tmp_path / "disk") as folder, locked(kind, folder):
        for main, arguments in (
            (infer.main, prediction(expected, web, folder / "p.csv")),
            (report.main, ["--run", expected, "--out", folder / "p.csv"]),
        ):
            code, lines = call(capsys, main, *arguments)
            assert (code, len(lines)) == (2, 1), lines
            assert re.fullmatch(f"error: {folder}/p.csv: cannot be written \\(({REFUSED})\\)", lines[0])
