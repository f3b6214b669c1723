"""The benchmark on a folder of photographs: its data, what every method trains there, and one whole comparison."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import train
from tests.helpers.photo_folder import EACH, write_photos, write_recipe
from tools.ablation import __main__ as ablation
from tools.ablation import kept, results
from tools.ablation.children import Failed, Outcome
from tools.ablation.cost import predicted
from tools.ablation.held_out import held_out
from tools.ablation.kept import keep_shared
from tools.ablation.left_out import not_run
from tools.ablation.methods import BASELINES, LADDER, compared, make_run, method_names, stages_of
from tools.ablation.parts import parts_of
from tools.ablation.rows import read_rows
from tools.ablation.runs import Record, perform
from tools.ablation.runs import write_recipe as write_run
from tools.ablation.scores import weight_column
from tools.ablation.spaces import present, space_of
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.table.table import Table

N = 3 * EACH + 1  # training files, a broken one among them


@pytest.fixture(autouse=True)
def _without_cleanlab(monkeypatch):
    """The same with the extra ``benchmark`` and without it; its scores are test_benchmark_scores.py's."""
    monkeypatch.setattr(ablation, "needs_cleanlab", lambda *_: False)
    monkeypatch.setattr(results, "cleanlab_scores", lambda *_: {})


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def args(tmp_path, photos):
    """The command's flags: all methods that run there."""
    words = ["--data", photos, "--out", tmp_path / "out", "--recipe", write_recipe(tmp_path), "--seeds", "0"]
    return [*map(str, words), "--methods", "ladder,rivals"]


@pytest.fixture
def base(args):
    return ablation.read_base(ablation.parse(args))


# --- the data


def test_the_folders_are_the_data_and_the_truth_says_which_labels_are_right(args, photos):
    plan = ablation.plan(ablation.parse(args))
    data = plan.base.data
    assert (data.format, data.root, data.val_root) == ("folder", str(photos / "train"), str(photos / "val"))
    assert (data.n_classes, data.val_split, len(plan.rows), plan.rows.has_metadata) == (3, None, N, False)
    right = dict(zip(plan.rows.paths.to_pylist(), plan.rows.right.tolist(), strict=True))
    wrong = {"blue/blue0.png", "blue/blue1.png", "blue/cut.png", "green/green0.png", "red/red0.png"}
    assert {path for path, good in right.items() if not good} == wrong
    part = ablation.plan(ablation.parse([*args, "-o", "data.classes=[red, green]"])).rows
    assert {path: right[path] for path in part.paths.to_pylist()} == dict(
        zip(part.paths.to_pylist(), part.right.tolist(), strict=True)
    )
    assert len(part) == 2 * EACH


def test_a_folder_in_the_truth_s_place_is_not_taken_for_no_truth(args, photos):
    (photos / "truth_train.csv").unlink()
    (photos / "truth_train.csv").mkdir()
    with pytest.raises(InputError, match=r"truth_train\.csv: found a folder; a text file"):
        ablation.plan(ablation.parse(args))


def test_other_rows_or_validation_pictures_are_other_lists_and_the_truth_is_not(args, photos):
    def rows():
        return ablation.plan(ablation.parse(args)).rows

    first = rows()
    for place in ("train/red/red7.png", "val/red/red9.png"):
        (photos / place).rename((photos / place).with_name("other.png"))
        if place.startswith("train"):
            file = photos / "truth_train.csv"
            file.write_text(file.read_text().replace("red/red7.png", "red/other.png"))
        second = rows()
        assert second.digest != first.digest
        first = second
    (photos / "truth_train.csv").unlink()
    assert rows().digest == first.digest and rows().right is None


def write_truth(photos, change):
    file = photos / "truth_train.csv"
    file.write_text(change(file.read_text()))


def move(photos, old, new):
    (photos / old).rename(photos / new)


BAD = {
    "classes_alone": (lambda p: move(p, "train", "pictures"), "photos has no info/synsets.txt"),
    "no_val": (lambda p: move(p, "val", "validation"), "photos has train/ but no val/"),
    "class_without_val": (lambda p: move(p, "val/red", "no_class"), "has no picture of 1 class that"),
    "another_val_class": (lambda p: move(p, "val/red", "val/rde"), "sub-folder 'rde' is not a class of"),
    "one_class": (lambda p: [move(p, f"train/{c}", f"gone_{c}") for c in ("red", "green")], "has 1 sub-folder (blue)"),
    "unknown_truth": (lambda p: write_truth(p, lambda t: t.replace(",green,", ",gren,", 1)), "nearest: green"),
    "twice": (lambda p: write_truth(p, lambda t: t + "red/red1.png,red,\n"), "'red/red1.png' is there a second time"),
    "strange": (lambda p: write_truth(p, lambda t: t + "red/x.png,red,\n"), "'red/x.png' is not a picture below"),
    "missing": (lambda p: write_truth(p, lambda t: t.replace("red/red1.png,red,\n", "")), "no line for 'red/red1.png'"),
    "below_train": (lambda p: write_truth(p, lambda t: t.replace("\nred/", "\ntrain/red/")), "path 'train/red/red0"),
    "no_text": (lambda p: write_truth(p, lambda t: ""), "truth_train.csv: has no column path; CSV with"),
    "endless": (lambda p: write_truth(p, lambda t: t + '"' + "x" * 200_000), "cannot be read: field larger than"),
    "val_is_train": (
        lambda p: [move(p, "val", "checked"), (p / "val").symlink_to("train")],
        "photos/val is the folder that trains",
    ),
    "no_column": (lambda p: write_truth(p, lambda t: t.replace("truth", "shown", 1)), "has no column truth"),
    "no_right_row": (
        lambda p: write_truth(p, lambda t: t.replace(",red,", ",off_topic,")),
        "truth_train.csv: class 2 has 8 rows, none of them right",
    ),
}


def test_labels_in_doubt_measure_nothing_when_they_are_asked_for_either(args, capsys):
    assert cli.run(ablation.main, [*args, "-o", "data.val_root=null", "-o", "data.val_split=0.5"]) == 2
    assert "data.val_root: found none, so pictures of" in capsys.readouterr().err.splitlines()[-1]


def test_a_path_of_the_truth_is_its_characters_not_their_encoding(args, photos):
    right = ablation.plan(ablation.parse(args)).rows.right
    for part in ("train", "val"):
        move(photos, f"{part}/red", unicodedata.normalize("NFD", f"{part}/ré 😀"))
    named = lambda t: t.replace("red/", "ré 😀/").replace(",red,", ",ré 😀,")  # noqa: E731
    write_truth(photos, lambda t: "\ufeff" + unicodedata.normalize("NFC", named(t)).replace("\n", "\r\n"))
    photos = photos.rename(photos.with_name("photos 😀"))
    rows = ablation.plan(ablation.parse(["--data", str(photos), *args[2:]])).rows
    assert rows.right.tolist() == right.tolist()


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line(args, photos, tmp_path, capsys, what):
    spoil, said = BAD[what]
    spoil(photos)
    assert cli.run(ablation.main, args) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert not out and len(lines) == 1 and said in lines[0]
    assert not (tmp_path / "out").exists()


def test_the_oracle_needs_a_truth_and_what_cannot_run_is_named(args, photos, capsys):
    (photos / "truth_train.csv").unlink()
    words = args[:-1]
    names = {"oracle": "needs truth_train.csv in", "oracle/class": "needs truth_train.csv in"}
    names |= {"dividemix": "it trains two whole networks, and stage class"}
    names |= {"urnet_images": "found 4; accepted: 1, as the features that are kept", "images_only": "same as ladder"}
    for name, said in names.items():
        assert cli.run(ablation.main, [*words, name]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
        assert name in line and said in line


# --- what is trained


def test_every_method_trains_each_part_for_what_it_costs_the_ladder(base, tmp_path):
    assert [[stage.name for stage in part] for part in parts_of(base.stages)] == [["class", "instance"], ["finetune"]]
    without = not_run(base, False)
    kinds = compared(base, without)
    assert set(BASELINES) - set(kinds.values()) == {"co_teaching", "dividemix"}
    ladder = base.stages
    for kind in kinds.values():
        stages = stages_of(kind, base, N)
        frozen = [stage for stage in stages if stage.train == "classifier"]
        assert [stage.train for stage in stages] == ["classifier"] * len(frozen) + ["top"]
        for own, whole in ((frozen, ladder[:2]), (stages, ladder)):
            costs = [predicted(part, N).training_images for part in (own, whole)]
            assert costs[0] == pytest.approx(costs[1])
        assert stages[0].start == ladder[0].start and stages[-1].start == "previous"
        assert {stage.views for stage in frozen} == {1} and stages[-1].views == 3
        write_run(make_run(base, kind, 0, tmp_path, N), "")  # reads it back, checks it


def test_a_baseline_learns_at_the_ladders_pace_and_keeps_its_remedies_in_the_last_part(base):
    *frozen, last = stages_of("pci", base, N)
    assert [stage.schedule.lr for stage in frozen] == pytest.approx([0.04, 0.02, 0.02, 0.04])
    assert {(s.optimizer.weight_decay, s.batch_size, s.ema.decay) for s in frozen} == {(0.02, 8, 0.9)}
    assert (last.batch_size, last.schedule.lr, str(last.duration)) == (4, 0.003, "2 epochs")
    assert (last.mixup, last.label_smoothing, last.targets) == (0.2, 0.1, "relabel_third")
    assert (last.sampling_weight, last.loss_weight) == (("image_weight_third",), ("class_weight",))
    assert last.reweight is None
    plus = stages_of("elr_plus", base, N)
    assert [str(stage.duration) for stage in plus] == ["2.25 epochs", "1.5 epochs"]  # a step costs 4 for 3
    assert all(stage.elr.teacher == "average" and stage.mixup == 1 for stage in plus)
    tail = stages_of("gated", base, N)[-2]
    assert tail.optimizer.classifier_lr == 2 and tail.schedule.lr == pytest.approx(0.0008)


def test_the_references_have_no_remedy_in_either_part(base, tmp_path):
    for kind, balance, weight in (("ce_equal", 0, ()), ("balanced_equal", 1, ()), ("oracle", 1, ("right",))):
        run = make_run(base, kind, 0, tmp_path, N)
        assert run.methods == {"class": f"{kind}/class", "finetune": kind}
        for stage in run.recipe.stages:
            assert (stage.balance, stage.sampling_weight, stage.mixup, stage.reweight) == (balance, weight, 0, None)
    first, last = run.recipe.stages
    assert (str(first.duration), str(last.duration), str(last.schedule.warmup)) == ("3 epochs", "2 epochs", "1 epochs")
    assert method_names(base, not_run(base, False))[2:5] == ("class", "+instance", "+finetune")
    (ce,) = stages_of("ce", base, N)
    assert str(ce.duration) == "2 epochs"


def test_names_that_a_method_has_already_are_made_others(base):
    named = replace(base, stages=(*base.stages[:2], replace(base.stages[2], name="a")))
    assert [stage.name for stage in stages_of("pci", named, N)] == ["a", "b1", "b2", "c", "a_top"]


# --- one comparison, in this process


class Here:
    """Children that run in this process."""

    stopped = False

    def run(self, words, log):
        main = kept.main if words[1:3] == ["-m", "tools.ablation.kept"] else train.main
        code = cli.run(main, [str(word) for word in words[3 if main is kept.main else 2 :]])
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("said\n")
        return Outcome(code, 1.0, 1.0)


def test_one_comparison_shares_what_is_frozen_and_costs_what_was_predicted(args, photos, tmp_path):
    plan = ablation.plan(ablation.parse(args))
    out, children = tmp_path / "out", Here()
    records = [
        Record(write_run(make_run(plan.base, kind, 0, out, N), ""), plan.rows) for kind in (LADDER, "elr", "oracle")
    ]
    keep_shared([(record.run, "finetune") for record in records], children)
    files = sorted((out / "kept/kept.features").iterdir())
    assert [file.name.split("-")[0] for file in files] == ["features", *["front"] * 3]
    sizes = [file.stat().st_size for file in files]
    made = results.Results(out, method_names(plan.base, plan.without), plan.rows, title="photos", made="")
    for record in records:
        perform(record, "finetune", children, made.add)
        assert (record.run.folder / "kept.features").resolve() == out / "kept/kept.features"
        assert not record.left("finetune")
    assert [file.stat().st_size for file in files] == sizes and len(list((out / "kept/kept.features").iterdir())) == 4
    found = {one["method"]: one for one in made.entries}
    assert list(found) == ["class", "+instance", "+finetune", "elr/elr", "elr", "oracle/class", "oracle"]
    cost = predicted(plan.base.stages, N - 1).training_images  # but for the file that is not a picture
    assert [found[name]["cost"] for name in ("+finetune", "elr", "oracle")] == pytest.approx([cost] * 3)
    assert made.unequal(plan.equals) == ""
    assert found["+instance"]["auc"] is not None and found["+finetune"]["auc"] is None
    assert weight_column(records[0].run, "instance") == "instance_weight"
    right = Table.open(out / "runs/oracle-seed0/table").column("right")
    np.testing.assert_array_equal(right, plan.rows.right.astype(float))
    assert json.loads((out / "result.json").read_text()) == made.entries


def test_what_is_shared_is_computed_only_where_it_is_asked_for(base, args, tmp_path):
    ladder, ce = (make_run(base, kind, 0, tmp_path / "out", N) for kind in (LADDER, "ce"))
    words = []

    class Noted(Here):
        def run(self, given, log):
            words.append(given)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("error: no luck\n")
            return Outcome(2, 1.0, 1.0)

    whole = replace(ladder, recipe=replace(base, stages=tuple(replace(s, train="all", views=1) for s in base.stages)))
    keep_shared([(whole, "finetune")], Noted())
    keep_shared([], Noted())
    assert not words
    with pytest.raises(Failed, match="kept activations: error: no luck"):
        keep_shared([(ladder, "instance"), (ce, "class")], Noted())
    assert words[0][3:] == [
        *("--home", str(tmp_path / "out/kept"), "--run", str(ladder.file), "instance", "--run", str(ce.file), "class")
    ]


def test_settings_are_searched_on_a_part_of_the_training_pictures(base, photos, tmp_path, capsys):
    for c in ("blue", "green", "red"):  # copies of one picture are on one side
        for i in range(EACH):
            file = photos / "train" / c / f"{c}{i}.png"
            file.with_name(f"{c}{i}copy.png").write_bytes(file.read_bytes())
    for _ in range(2):  # the second time it is written anew
        data = held_out(base.data, tmp_path / "cut")
    places = photos / "train", *map(Path, (data.root, data.val_root))
    whole, train, held = ({str(file.relative_to(root)) for file in root.glob("*/*")} for root in places)
    assert train | held == whole and not train & held and (data.format, data.n_classes) == ("folder", 3)
    assert held and {path.replace("copy", "") for path in held} <= held
    assert (places[2] / min(held)).resolve() == (photos / "train" / min(held)).resolve()
    assert {item.name for item in (tmp_path / "cut").iterdir()} == {"train", "val"}
    assert {path.partition("/")[0] for path in held} == {"blue", "green", "red"}  # small as they are
    assert len(read_rows(data)) == len(train)
    kept_keys = present(space_of("ladder"), base.stages, "ladder")
    assert [one.key for one in kept_keys] == ["*.schedule.lr", "*.optimizer.weight_decay", "*.reweight.power"]
    said = "note: ladder: label.reweight.certainty is not searched, as none of its stages has it"
    assert said in capsys.readouterr().err


def test_a_share_of_a_folder_of_photographs_is_refused(args, photos, tmp_path, capsys):
    words = ["growth", "--sets", str(photos), "--shares", "1/2", "--out", str(tmp_path / "grown")]
    assert cli.run(ablation.main, words) == 2
    assert "photos has no info/synsets.txt, a line per class, as WebVision 2.0's layout" in capsys.readouterr().err


def test_refused_before_anything_is_written(base):
    with pytest.raises(InputError, match="it needs a ladder whose stages all train the same part"):
        stages_of("targets_all", base, N)
