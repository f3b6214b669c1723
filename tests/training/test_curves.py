"""The VisualDL log of a run: one axis over its stages, what a person looks for first, resumed as if never stopped."""

from pathlib import Path

import pytest
from visualdl import LogReader

from urnet.core.checks import InputError
from urnet.training.curves import Curves


def stage(run: Path, name: str, earlier: tuple[str, ...], first: int = 0, last: int = 8) -> None:
    """A stage's training from step ``first`` to ``last``, evaluated every fourth step."""
    (run / name).mkdir(parents=True, exist_ok=True)
    files = tuple(run / one / "curves.csv" for one in earlier)
    curves = Curves(run / name / "curves.csv", run / "curves", first, note=print, earlier=files)
    for step in range(first + 1, last + 1):
        curves.add(step, {"images_per_s": 5.0, "data_wait": 0.1, "lr": 0.5, "train/loss": 1 / step})
        if step % 4 == 0:
            curves.add(step, {"val/top1": step / 10, "val/top5": step / 5})
    curves.close()


def log_of(run: Path) -> tuple[list[str], dict[str, list[tuple[int, float]]]]:
    """The curves as VisualDL lists them, and their points (step, value)."""
    (file,) = (path for path in (run / "curves").iterdir())
    reader = LogReader(file_path=str(file))
    names = list(reader.get_tags()["scalar"])
    return names, {name: [(p.id, round(p.value, 6)) for p in reader.get_data("scalar", name)] for name in names}


def test_one_axis_of_total_steps_and_what_matters_first(tmp_path):
    (tmp_path / "curves/class").mkdir(parents=True)  # as an earlier version left it
    (tmp_path / "curves/class/vdlrecords.1.log").write_bytes(b"")
    stage(tmp_path, "class", ())
    names, points = log_of(tmp_path)
    assert names[:4] == ["val/top1", "val/top5", "train/loss", "lr"] and names[-1] == "data_wait"
    assert [step for step, _ in points["lr"]] == list(range(1, 9))
    stage(tmp_path, "bag", ("class",), last=6)
    names, points = log_of(tmp_path)
    assert names[:4] == ["val/top1", "val/top5", "train/loss", "lr"]
    assert [step for step, _ in points["train/loss"]] == list(range(1, 15))
    assert [step for step, _ in points["val/top1"]] == [4, 8, 12]
    assert points["train/loss"][8] == (9, 1.0)  # the second stage's first step
    assert (tmp_path / "bag/curves.csv").read_text().splitlines()[1].startswith("1,")  # a stage's own file counts alone


def test_a_resumed_run_has_the_points_of_one_that_was_not_interrupted(tmp_path):
    for run in ("whole", "resumed"):
        stage(tmp_path / run, "class", ())
    stage(tmp_path / "whole", "bag", ("class",))
    stage(tmp_path / "resumed", "bag", ("class",), last=5)
    stage(tmp_path / "resumed", "bag", ("class",), first=3)  # from the checkpoint of step 3
    assert log_of(tmp_path / "resumed") == log_of(tmp_path / "whole")


@pytest.mark.parametrize("damage", [b"1;lr;0.5;1\n", b"one,lr,0.5,1\n", b"1,lr,0.5\n", b"1,lr,\xe9,1\n", b"\0\0\0\n"])
def test_another_stage_s_damaged_curves_cost_the_log_and_never_the_run(tmp_path, damage, capsys):
    stage(tmp_path, "class", ())
    file = tmp_path / "class/curves.csv"
    file.write_bytes(file.read_bytes() + damage)
    stage(tmp_path, "bag", ("class",))
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"{file}:" in said and "step,name,value,seconds is accepted" in said
    assert len((tmp_path / "bag/curves.csv").read_text().splitlines()) == 1 + 8 * 4 + 2 * 2
    with pytest.raises(InputError, match=r"class/curves.csv:.*move the file away"):
        stage(tmp_path, "class", ())
