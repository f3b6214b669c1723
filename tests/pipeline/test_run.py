"""Several stages of one recipe: which run, which are kept, why one runs again, what each leaves behind."""

import dataclasses
import functools
import json
import re
import shutil

import numpy as np
import pytest

import models
from tests.helpers.tiny_stages import LAST, MORE, actions, plan, recipe_of, train
from tests.helpers.tiny_training import SIZES
from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError
from urnet.data.table.table import Table


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """The folder of a run of three stages that is finished; tests plan over it and leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    train(recipe_of(images, folder))
    return folder


BAGS = {
    **MORE,
    "loss_weight": [],
    "bags": {"size": 2, "temperature": 0.5},
    "duration": "9 steps",
    "checkpoint_every": "4 steps",
}


def test_nothing_is_written_by_planning(images, tmp_path):
    assert plan(recipe_of(images, tmp_path)) == dict.fromkeys(("class", "more", "last"), ("run", "not trained yet"))
    assert not (tmp_path / "out").exists()


def test_finished_stages_are_kept(images, trained):
    recipe = recipe_of(images, trained)
    assert actions(recipe) == {"class": "keep", "more": "keep", "last": "keep"}
    before = (trained / "out/tiny/last/final/model.safetensors").stat().st_mtime_ns
    assert [result.stage for result in train(recipe)] == ["class", "more", "last"]
    assert (trained / "out/tiny/last/final/model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("override", "again", "why"),
    [
        ("stages.last.schedule.lr=0.02", ["last"], "stages.last.schedule.lr was 0.01, now 0.02"),
        ("stages.more.duration=2 steps", ["more", "last"], "stages.more.duration was '3 steps', now '2 steps'"),
        (
            "stages.class.reweight.power=0.5",
            ["class", "more", "last"],
            "column class_weight, which it trains with, would",
        ),
        ("seed=9", ["class", "more", "last"], "seed was 3, now 9"),
        ("transform.pad=1", ["class", "more", "last"], "transform.pad was 2, now 1"),
        ("stages.more.enabled=false", ["last"], "start was stage more, now s"),
        ("stages.last.start=scratch", ["last"], "start was stage more, now s"),
        ("stages.more.log_every=1", [], ""),
        ("stages.more.keep=1", [], ""),
        ("data.workers=2", [], ""),
        ("data.max_bad=3", [], ""),
    ],
)
def test_a_change_runs_again_from_the_first_stage_it_touches(images, trained, override, again, why):
    found = plan(recipe_of(images, trained, override))
    assert [name for name, (action, _) in found.items() if action == "again"] == again
    assert {action for action, _ in found.values()} <= {"keep", "again"}
    if again:
        assert why in found[again[0]][1]
    if len(again) > 1:
        assert any(f"stage {name}" in found[again[-1]][1] for name in ("more", "class")) or (
            "column class_weight" in found[again[-1]][1]
        )


def test_the_validation_images_are_an_input_but_not_of_the_last_weights(images, tmp_path, capsys):
    listed = tmp_path / "val.txt"
    text = (images / "val.txt").read_text()
    listed.write_text(text)
    recipe = recipe_of(images, tmp_path, f"data.val_list={listed}", stages=({**MORE, "start": "scratch"},))
    first = train(recipe)
    home, said = tmp_path / "out/tiny", f"the validation images changed: {listed}: 12 images then, "
    kept = [home / "class/final/model.safetensors", home / "table/class.arrow"]
    before = [file.read_bytes() for file in kept]
    lines = text.splitlines()
    for changed, why in (
        (lines[1:], said + "11 now"),
        ([*lines, lines[0]], said + "13 now"),
        ([lines[0].replace("val/", "./val/"), *lines[1:]], said + "12 now, of other names"),
        ([f"{line[:-1]}{(int(line[-1]) + 1) % 3}" for line in lines], said + "12 now, of other labels"),
    ):
        listed.write_text("\n".join(changed))
        assert plan(recipe) == dict.fromkeys(("class", "more"), ("again", why))
    with pytest.raises(
        InputError, match=re.escape(f"stage class, which it builds on, was trained with other settings: {said}")
    ):
        train(recipe, only="more")
    made = (home / "table/class.arrow").stat().st_mtime_ns
    again = train(recipe)
    assert f"stage class: runs again, as {said}12 now, of other labels; its earlier result" in capsys.readouterr().err
    assert [result.last["top1"] for result in again] != [result.last["top1"] for result in first]
    assert [file.read_bytes() for file in kept] == before and (home / "table/class.arrow").stat().st_mtime_ns == made
    listed.write_text("\r\n".join(["", *listed.read_text().split("\n")]))
    assert actions(recipe) == {"class": "keep", "more": "keep"}  # it says the same


def test_a_stage_of_before_validation_images_were_recorded_is_kept_and_a_line_says_so(images, tmp_path, capsys):
    recipe = recipe_of(images, tmp_path, stages=())
    train(recipe)
    file = tmp_path / "out/tiny/class/inputs.json"
    recorded = json.loads(file.read_text())
    assert recorded.pop("validation")["images"] == 12
    file.write_text(json.dumps(recorded))
    for call in (lambda: plan(recipe), lambda: train(recipe)):
        capsys.readouterr()
        call()
        noted = "note: stage class: the validation images were not recorded when it was trained"
        assert capsys.readouterr().err.count(noted) == 1
    assert actions(recipe) == {"class": "keep"}


def test_a_stage_from_scratch_is_not_touched_by_the_one_before(images, tmp_path):
    stages = ({**MORE, "start": "scratch", "loss_weight": []}, LAST)
    train(recipe_of(images, tmp_path, stages=stages))
    changed = recipe_of(images, tmp_path, "stages.class.label_smoothing=0.2", stages=stages)
    assert actions(changed) == {"class": "again", "more": "keep", "last": "keep"}


def test_a_checkpoint_that_changed_on_the_disk_is_noticed(images, tmp_path):
    train(recipe_of(images, tmp_path, "name=first", stages=()))
    start = tmp_path / "out/first/class/final"
    recipe = recipe_of(images, tmp_path, f"stages.more.start={start}", stages=(MORE,))
    train(recipe)
    assert actions(recipe) == {"class": "keep", "more": "keep"}
    weights = checkpoint.read_weights(start)
    state = checkpoint.describe(start).state
    checkpoint.save(start, weights={k: v + 1 for k, v in weights.items()}, state=state, replace=True)
    found = plan(recipe)
    assert found["class"][0] == "keep"
    assert found["more"][0] == "again"
    assert "what it starts from, a file, differs (" in found["more"][1]


def test_a_network_of_classes_in_another_order_does_not_measure(images, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\n")
    train(recipe_of(images, tmp_path, "name=first", f"data.class_names={names}", stages=()))
    names.write_text("bee\nant\ncat\n")
    start = str(tmp_path / "out/first/class/final")
    measures = {"reweight": {"method": "label"}, "measure": {"network": start}, "loss_weight": []}
    measuring = {**MORE, "start": start, **measures}
    recipe = recipe_of(images, tmp_path, f"data.class_names={names}", stages=(measuring,))
    planned = functools.partial(plan, build_network=lambda: models.build(recipe.model.name, 3))
    for call in (planned, train):
        with pytest.raises(
            InputError, match=r"class 0 is 'bee', but 'ant' in .*/final, which stage more measures with"
        ):
            call(recipe)
    assert not (tmp_path / "out/tiny").exists()
    capsys.readouterr()
    training = recipe_of(images, tmp_path, f"data.class_names={names}", stages=({**MORE, "start": start},))
    assert planned(training)["more"][0] == "run"
    assert "which stage more starts from, where 'bee' is class 1" in capsys.readouterr().err


def test_until_and_stage_cut_the_recipe(images, tmp_path):
    recipe = recipe_of(images, tmp_path)
    assert [result.stage for result in train(recipe, until="more")] == ["class", "more"]
    assert not (tmp_path / "out/tiny/last").exists()
    assert actions(recipe, only="last") == {"last": "run"}
    with pytest.raises(InputError, match="--until: 'mor' is not known; nearest: more"):
        train(recipe, until="mor")
    changed = recipe_of(images, tmp_path, "stages.more.duration=2 steps")
    with pytest.raises(
        InputError, match="--stage last: stage more, which it builds on, was trained with other settings"
    ):
        train(changed, only="last")
    assert [result.stage for result in train(recipe, only="last")] == ["last"]


def test_a_stage_that_is_switched_off_is_not_there(images, tmp_path):
    recipe = recipe_of(images, tmp_path, "stages.more.enabled=false")
    assert [result.stage for result in train(recipe)] == ["class", "last"]
    with pytest.raises(InputError, match="--stage: 'more' is not known"):
        train(recipe, only="more")
    with pytest.raises(InputError, match="stages: found 'none enabled'; accepted: at least one enabled"):
        off = [f"stages.{name}.enabled=false" for name in ("class", "more", "last")]
        recipe_of(images, tmp_path, *off)


def test_a_method_used_twice_writes_files_of_its_own(images, tmp_path):
    again = {
        **MORE,
        "reweight": {"method": "class_size", "power": 0.5, "suffix": "_soft"},
        "balance": 0.0,
        "loss_weight": ["class_weight_soft"],
    }
    train(recipe_of(images, tmp_path, stages=(again,)))
    table = Table.open(tmp_path / "out/tiny/table")
    assert {"class_weight", "class_weight_soft"} <= set(table.columns)
    assert table.file_of("class_weight_soft") == "class_soft"
    by_class = [np.unique(table.column("class_weight_soft")[table.column("label") == c]) for c in range(3)]
    ratio = by_class[2][0] / by_class[0][0]
    assert ratio == pytest.approx((SIZES[0] / SIZES[2]) ** 0.5, rel=1e-5)


def test_replacing_a_part_builds_a_table_of_changed_lists_again(images, tmp_path, capsys):
    listed = tmp_path / "train.txt"
    lines = (images / "train.txt").read_text().splitlines(keepends=True)
    listed.write_text("".join(lines))
    recipe = recipe_of(images, tmp_path, f"data.train_list={listed}", stages=(MORE,))
    train(recipe)
    table = tmp_path / "out/tiny/table"
    before = Table.open(table).base_hash
    train(recipe, until="class", replace=True)  # nothing has changed: the table stays, with the others' columns
    assert Table.open(table).base_hash == before and "is built again" not in capsys.readouterr().err
    listed.write_text("".join(lines[1:]))
    said = "61 training images then, 60 now; 1 removed: train/000.png"
    for call in (plan, train):
        with pytest.raises(InputError, match=re.escape(f"{table}: the table was built differently: {said}; --replace")):
            call(recipe, until="class")
        with pytest.raises(
            InputError, match="stage class, which it builds on, was trained with other settings: the training im"
        ):
            call(recipe, only="more", replace=True)
    assert Table.open(table).base_hash == before
    capsys.readouterr()
    assert actions(recipe, until="class", replace=True) == {"class": "again"}
    noted = f"note: {table}: is built again ({said}); stage more was trained on the old one and runs again when its"
    assert noted in capsys.readouterr().err and Table.open(table).base_hash == before
    train(recipe, until="class", replace=True)
    assert noted in capsys.readouterr().err
    assert Table.open(table).n_rows == 60 and set(Table.open(table).files) == {"class.arrow"}
    assert plan(recipe)["class"] == ("keep", "finished already")
    assert plan(recipe)["more"][1].startswith("the training images, or their labels, changed; ")
    assert plan(recipe)["more"][0] == "again"


def test_replace_removes_instead_of_moving(images, tmp_path):
    recipe = recipe_of(images, tmp_path, stages=())
    train(recipe)
    train(recipe_of(images, tmp_path, "seed=1", stages=()), replace=True)
    assert not (tmp_path / "out/tiny/replaced").exists()
    train(recipe_of(images, tmp_path, "seed=2", stages=()))
    train(recipe_of(images, tmp_path, "seed=3", stages=()))
    assert sorted(p.name for p in (tmp_path / "out/tiny/replaced").iterdir()) == ["class-1", "class-2"]


def test_planning_leaves_the_files_of_a_running_training_alone(images, trained):
    part = trained / "out/tiny/last/.step-00000009.abcd.tmp"
    part.mkdir()
    assert set(actions(recipe_of(images, trained)).values()) == {"keep"}
    assert part.is_dir()
    train(recipe_of(images, trained))  # the owner of the folder clears up
    assert not part.exists()


@pytest.mark.parametrize(
    ("override", "options", "message"),
    [
        ("stages.last.loss_weight=[class_wieght]", {}, "the table has no column 'class_wieght'"),
        ("stages.last.sampling_weight=[class_weight]", {}, "found class_weight, which is the same for all"),
        ("stages.last.targets=label", {}, "last.targets: no stage up to this one writes 'topk_index'"),
        ("stages.last.start=/nowhere", {}, "/nowhere: does not exist"),
        ("seed=3", {"only": "last"}, "--stage last: stage class, which it builds on, is not finished"),
        ("data.val_list=/nowhere.txt", {}, "/nowhere.txt"),
        ("data.root=/nowhere", {}, "data.root: /nowhere is not a folder"),
        ("stages.last.loss_weight=[path]", {}, "column 'path' holds no weights"),
        ("stages.last.loss_weight=[label]", {}, "column 'label' holds no weights"),
    ],
)
def test_planning_refuses_what_the_run_would(images, tmp_path, override, options, message):
    recipe = recipe_of(images, tmp_path, override)
    for call in (lambda: plan(recipe, **options), lambda: train(recipe, **options)):
        with pytest.raises(InputError, match=re.escape(message)):
            call()
    assert not (tmp_path / "out/tiny/class").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("duration=0.2 steps", "last.duration: 0.2 steps is less than one step"),
        ("schedule.warmup=9 steps", "last.schedule.warmup: 9 steps is 9 steps, the stage has only 3"),
        ("reweight={method: class_size}", "last.reweight.suffix: found ''; accepted: another word, as"),
    ],
)
def test_a_later_stage_is_refused_before_the_first_one_trains(images, tmp_path, override, message):
    with pytest.raises(InputError, match=re.escape(message)):
        train(recipe_of(images, tmp_path, f"stages.last.{override}"))
    assert not (tmp_path / "out/tiny/class").exists()


def test_columns_that_are_no_weights_are_refused_before_anything_is_trained(images, tmp_path):
    clusters = {**MORE, "reweight": {"method": "cluster", "suffix": "_2"}}
    for key in ("loss_weight", "sampling_weight"):
        for column in ("cluster_2", "bag_attention"):
            stages = ({**clusters, key: [column]}, {**LAST, "bags": {"size": 2}})
            if column == "bag_attention":
                stages = ({**clusters, "bags": {"size": 2}}, {**LAST, key: [column]})
            with pytest.raises(InputError, match=f"{key}: column '{column}' holds no weights"):
                train(recipe_of(images, tmp_path, stages=stages))
    assert not (tmp_path / "out/tiny/class").exists()


# --- what a later stage builds on


def test_a_stage_alone_wants_every_stage_it_builds_on(images, tmp_path):
    own = tmp_path / "out/tiny/class/final"
    scratch, path = {**MORE, "start": "scratch"}, {**LAST, "start": str(own), "loss_weight": []}
    train(recipe_of(images, tmp_path, stages=(scratch, path)))
    changed = recipe_of(images, tmp_path, "stages.class.reweight.power=0.5", stages=(scratch, path))
    for name in ("more", "last"):  # one by the column class_weight, one by its start
        with pytest.raises(InputError, match=f"--stage {name}: stage class, which it builds on, was trained"):
            train(changed, only=name)
    assert actions(changed) == {"class": "again", "more": "again", "last": "again"}


def test_columns_that_are_gone_are_written_again_for_a_stage_that_is_kept(images, tmp_path):
    recipe = recipe_of(images, tmp_path)
    train(recipe)
    file = tmp_path / "out/tiny/table/class.arrow"
    before = file.read_bytes()
    file.unlink()
    with pytest.raises(InputError, match=r"stage class, .* its columns are not in the table"):
        train(recipe_of(images, tmp_path, "stages.more.duration=2 steps"), only="more")
    train(recipe_of(images, tmp_path, "stages.last.duration=2 steps"))
    assert file.read_bytes() == before


def test_replace_with_a_slip_keeps_the_table_and_the_weights(images, tmp_path):
    train(recipe_of(images, tmp_path))
    home = tmp_path / "out/tiny"
    files = [*sorted((home / "table").glob("*.arrow")), *sorted(home.glob("*/final/model.safetensors"))]
    before = [file.read_bytes() for file in files]
    stage = ("loss_weight=[x]", "duration=0.01 steps", "start=/nowhere")
    data = ("val_list=/nowhere.txt", "root=/nowhere", "n_classes=2")
    for slip in (*(f"stages.last.{text}" for text in stage), *(f"data.{text}" for text in data)):
        with pytest.raises(InputError):
            train(recipe_of(images, tmp_path, slip), replace=True)
        assert [file.read_bytes() for file in files] == before, slip
    assert not (home / ".table.old").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_stage_is_not_replaced(images, tmp_path, kind):
    mine = tmp_path / "out/tiny/class" / ("notes.txt" if kind == "folder" else "")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    said = (
        "is not a stage of a run, inputs.json is missing"
        if kind == "folder"
        else "is a file; the folder of a stage must be there"
    )
    others = [{"resume": True}, {"replace": True}] if kind == "file" else []  # a folder may be given up by --replace
    for options in ({}, *others):
        with pytest.raises(InputError, match=re.escape(f"out/tiny/class: {said}")):
            train(recipe_of(images, tmp_path), **options)
    assert mine.read_text() == "mine"


def test_a_run_killed_while_it_begins_is_no_stranger(images, tmp_path):
    recipe = recipe_of(images, tmp_path, stages=())
    train(recipe)
    folder = tmp_path / "out/tiny/class"
    for path in sorted(folder.iterdir()):
        if path.name != "inputs.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [result.last["step"] for result in train(recipe, resume=True)] == [4]


def test_a_column_of_a_later_stage_is_not_there_yet(images, tmp_path):
    early = {**MORE, "loss_weight": ["class_weight_2"]}
    late = {**LAST, "reweight": {"method": "class_size", "suffix": "_2"}}
    train(recipe_of(images, tmp_path, stages=(MORE, late)))  # the table has it now
    with pytest.raises(InputError, match=r"more\.loss_weight: the table has no column 'class_weight_2'"):
        train(recipe_of(images, tmp_path, stages=(early, late)))


# --- bags and soft targets


def test_the_attention_of_a_stage_of_bags(images, tmp_path):
    recipe = recipe_of(images, tmp_path, stages=(BAGS,))
    train(recipe)
    attention = Table.open(tmp_path / "out/tiny/table").column("bag_attention")
    seen = np.isfinite(attention)
    assert 9 * 8 * 0.4 < seen.sum() <= 61
    assert (attention[seen] > 0).all() and (attention[seen] < 1).all()
    assert abs(attention[seen].mean() - 0.5) < 0.1  # two rows per bag
    shared = f"data.table={tmp_path}/out/tiny/table"
    other = {**BAGS, "bags": {"size": 4}}
    with pytest.raises(InputError, match=r"bag\.arrow: was written by stage more with other settings"):
        train(recipe_of(images, tmp_path, "name=other", shared, stages=(other,)))
    train(recipe_of(images, tmp_path, "name=same", shared, stages=(BAGS,)))
    with pytest.raises(InputError, match=r"stages\.last\.bags: .* accepted: bags in one stage"):
        recipe_of(images, tmp_path, stages=(BAGS, {**LAST, "bags": {"size": 2}}))
    (tmp_path / "out/tiny/table/bag.arrow").unlink()
    assert plan(recipe)["more"] == ("again", "its bag.arrow is missing")


def test_soft_targets_of_the_given_labels_train_as_the_labels_do(images, tmp_path):
    recipe = recipe_of(images, tmp_path, stages=(MORE,))
    (first, hard) = train(recipe)
    table = Table.open(tmp_path / "out/tiny/table")
    labels = table.column("label")
    columns = {
        "topk_index": np.stack([labels, (labels + 1) % 3], 1).astype(np.int32),
        "topk_prob": np.tile(np.float16([1, 0]), (len(labels), 1)),
    }
    table.write("label", columns, stage="by hand", recipe_hash="x", checkpoint="")
    soft = dataclasses.replace(recipe.stages[1], targets="label")
    again = dataclasses.replace(recipe, stages=(recipe.stages[0], soft))
    (_, result) = train(again)
    one, two = (checkpoint.read_weights(r.folder / "final") for r in (hard, result))
    assert first.stage == "class"
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)
