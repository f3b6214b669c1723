"""What is compared: every method's recipe, budgets, and the data it is given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmark import RIGHT, rows_of, write_data, write_recipe
from tools.ablation import __main__ as ablation
from tools.ablation.cost import predicted
from tools.ablation.evidence import READ, restricted
from tools.ablation.left_out import not_run
from tools.ablation.methods import (
    BASELINES,
    KINDS,
    LADDER,
    OWN_RECIPES,
    make_run,
    method_names,
    own_recipe,
    shortened,
    total_duration,
)
from tools.ablation.rows import check_oracle
from tools.ablation.runs import write_recipe as write_run
from tools.ablation.scores import weight_column
from urnet.config.duration import Duration, parse_duration
from urnet.config.remedies import Elr, Gate, Loss, Subsets
from urnet.config.stage import Bags, Evidence
from urnet.core.checks import InputError
from urnet.pipeline.methods.instance import Settings as Instance
from urnet.pipeline.recipes import load_recipe

RUNGS = ("class", "+cluster", "+instance", "+bag", "+label")
LADDER_AND_REFERENCES = ("untrained", "ce", *RUNGS, "ce_equal", "balanced_equal", "oracle")
EVIDENCE = (
    *("images_only/class", "images_only/cluster", "images_only/instance", "images_only/bag", "images_only"),
    *("titles_only", "ranks_only", "targets_all", "targets_images", "targets_titles", "targets_ranks", "urnet_images"),
)


@pytest.fixture
def base(tmp_path):
    return load_recipe(write_recipe(tmp_path))


def test_the_ladder_is_the_recipe_itself_without_the_stages_that_are_off(base, tmp_path):
    run = make_run(base, LADDER, 7, tmp_path, 12)
    assert run.recipe.stages == base.stages
    assert (run.recipe.seed, run.recipe.name, run.recipe.output) == (7, "ladder-seed7", f"{tmp_path}/runs")
    columns = [weight_column(run, stage) for stage in run.methods]
    assert columns == ["class_weight", "cluster_weight", "instance_weight", "bag_attention", "topk_prob"]
    off = tuple(replace(s, enabled=s.name != "bag") for s in base.stages)
    assert "+bag" not in method_names(replace(base, stages=off))
    named = (replace(base.stages[0], name="ce"), *base.stages[1:])
    with pytest.raises(InputError, match=r"stages\.ce\.name"):
        method_names(replace(base, stages=named))


def test_the_equal_budget_and_the_oracle(base, tmp_path):
    (equal,) = make_run(base, "ce_equal", 0, tmp_path, 12).recipe.stages
    assert equal.duration == Duration(21, "epochs")  # 20, and three measurings, each a third of an epoch
    assert (equal.schedule.name, equal.schedule.lr, str(equal.schedule.warmup)) == ("cosine", 0.05, "1 epochs")
    assert (equal.batch_size, equal.optimizer) == (base.stages[0].batch_size, base.stages[0].optimizer)
    assert equal.ema == base.stages[0].ema
    (oracle,) = make_run(base, "oracle", 0, tmp_path, 12).recipe.stages
    assert oracle == replace(equal, sampling_weight=("right",), balance=1.0)
    assert make_run(base, "balanced_equal", 0, tmp_path, 12).recipe.stages == (replace(equal, balance=1.0),)
    without = replace(base, stages=tuple(replace(stage, ema=None) for stage in base.stages))
    assert make_run(without, "ce_equal", 0, tmp_path, 12).recipe.stages[0].ema is not None


def test_plain_cross_entropy_keeps_nothing_of_the_first_stages_remedies(base, tmp_path):
    optimizer = replace(base.stages[0].optimizer, nesterov=True)
    first = replace(
        base.stages[0],
        bags=Bags(2),
        subsets=Subsets((1,), (1.0,)),
        gate=Gate(0.6),
        loss=Loss("symmetric"),
        elr=Elr(),
        mixup=0.2,
        balance=0.5,
        sampling_weight=("x",),
        targets="label",
        optimizer=replace(optimizer, classifier_lr=10.0),
    )
    run = make_run(replace(base, stages=(first, *base.stages[1:])), "ce", 0, tmp_path, 12)
    assert (run.recipe.model, run.recipe.transform, run.methods) == (base.model, base.transform, {"class": "ce"})
    assert weight_column(run, "class") is None
    none = {"reweight": None, "loss_weight": (), "label_smoothing": 0.0, "start": "scratch"}
    assert run.recipe.stages == (replace(base.stages[0], optimizer=optimizer, **none),)


@pytest.mark.parametrize("name", OWN_RECIPES)
def test_a_baseline_has_the_ladders_network_and_length(base, tmp_path, name):
    run = make_run(base, name, 3, tmp_path, 12)
    own = own_recipe(name)
    assert (run.recipe.model, run.recipe.transform) == (base.model, base.transform)
    assert (run.recipe.seed, run.name, run.recipe.data.root) == (3, f"{name}-seed3", base.data.root)
    assert list(run.methods) == [stage.name for stage in own.stages]
    ladder, cost = (predicted(stages, 12).training_images for stages in (base.stages, run.recipe.stages))
    assert cost == pytest.approx(ladder)
    factor = total_duration(run.recipe.stages, 12).amount / total_duration(own.stages, 12).amount
    for stage, original in zip(run.recipe.stages, own.stages, strict=True):
        assert stage.duration.amount == pytest.approx(original.duration.amount * factor)
        rates = ("lr", "name", "gamma", "final_lr")
        assert all(getattr(stage.schedule, key) == getattr(original.schedule, key) for key in rates)
        assert stage.dividemix is None or stage.dividemix.warmup.amount == pytest.approx(2 * factor)
        stretched = ("duration", "schedule", "co_teaching", "dividemix")
        assert replace(stage, **{key: getattr(original, key) for key in stretched}) == original
    own_weights = weight_column(run, next(iter(run.methods)))
    assert own_weights == ("class_weight" if name == "urnet_images" else None)


@pytest.mark.parametrize(
    ("durations", "batches", "total"),
    [
        (["4 epochs", "0.5 epochs"], [4, 8], "4.5 epochs"),
        (["4 steps", "6 steps"], [4, 4], "10 steps"),
        (["4 steps", "6 steps"], [4, 8], "64 images"),  # 16 + 48
        (["2 epochs", "6 steps", "5 images"], [4, 4, 4], "53 images"),  # 24 + 24 + 5
        (["0.1 epochs", "0.2 epochs"], [4, 4], "0.3 epochs"),
    ],
)
def test_durations_add_up(base, durations, batches, total):
    stages = [
        replace(base.stages[0], duration=parse_duration(text), batch_size=batch)
        for text, batch in zip(durations, batches, strict=True)
    ]
    assert str(total_duration(stages, 12)) == total


def test_a_small_budget_shortens_training_schedule_and_gate_alone(base):
    first = base.stages[0]
    milestones = (Duration(2, "epochs"),)
    schedule = replace(first.schedule, name="piecewise", warmup=Duration(3, "steps"), milestones=milestones)
    stage = replace(first, schedule=schedule, gate=Gate(0.5, until=Duration(2, "epochs")))
    short = shortened(stage, 0.25)
    assert (str(short.duration), str(short.eval_every)) == ("1 epochs", "1 epochs")
    assert (str(short.schedule.warmup), str(short.schedule.milestones[0])) == ("1 steps", "0.5 epochs")
    assert short.gate == Gate(0.5, until=Duration(0.5, "epochs"))
    assert shortened(stage, 1.0) == stage


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipe_is_written_so_that_it_reads_back_the_same(base, tmp_path, kind):
    run = make_run(base, kind, 1, tmp_path / "a folder", 12)
    assert write_run(run, "source.yaml") == run
    head = (tmp_path / "a folder/recipes" / f"{kind}-seed1.yaml").read_text().splitlines()[:4]
    assert head[1] == "# source:    source.yaml"
    command = next(line for line in head if line.startswith("# command: "))
    assert f"'{run.file}'" in command
    assert ("tools.ablation.untrained" if kind == "untrained" else "train.py") in command


@pytest.mark.parametrize(
    ("names", "truth", "chosen"),
    [
        ("ladder", True, LADDER_AND_REFERENCES),
        ("ladder", False, LADDER_AND_REFERENCES[:-1]),
        (
            *("all", True),
            (*LADDER_AND_REFERENCES[:-3], "images_only", *EVIDENCE[5:], *BASELINES, *LADDER_AND_REFERENCES[-3:]),
        ),
        ("rivals,ce", False, ("ce", *BASELINES, "balanced_equal")),
        ("evidence", False, ("images_only", *EVIDENCE[5:], "balanced_equal")),
        ("images_only/class,targets_all/plain", False, ("images_only/class", "targets_all/plain")),
        ("pci/b1", False, ("pci/b1",)),
        ("+bag,ce", False, ("ce", "+bag")),
    ],
)
def test_methods_are_chosen_by_name_and_group(base, names, truth, chosen):
    assert ablation.choose_methods(names, base, truth) == chosen


def test_the_restricted_ladders_read_less_and_are_else_the_ladder(base, tmp_path):
    full = active_evidence(base.stages)
    assert list(full) == ["cluster", "instance", "label"]
    for kind, text, bins in (("images_only", 0, 0), ("titles_only", 1, 0), ("ranks_only", 0, 5)):
        run = make_run(base, kind, 0, tmp_path, 12)
        found = active_evidence(run.recipe.stages)
        assert {name: (e.text, e.rank_bins) for name, e in found.items()} == dict.fromkeys(full, (text, bins))
        for stage, original in zip(run.recipe.stages, base.stages, strict=True):
            same = {} if original.reweight is None else {"reweight": original.reweight}
            assert replace(stage, **same) == original
        assert list(run.methods.values())[-1] == kind and f"{kind}/class" in run.methods.values()
        assert [weight_column(run, name) for name in ("instance", "label")] == ["instance_weight", "topk_prob"]


def active_evidence(stages):
    return {s.name: s.reweight.evidence for s in stages if hasattr(s.reweight, "evidence")}


def test_terms_that_are_not_read_are_off_too(base):
    terms = Instance(relevance="ranks", model_term=0.5, evidence=Evidence(word_vectors="vectors.txt"))
    stages = (replace(base.stages[2], reweight=terms),)
    found = {
        name: (s.reweight.text_term, s.reweight.rank_term, s.reweight.model_term, s.reweight.evidence.word_vectors)
        for name, read in READ.items()
        for s in restricted(stages, read)
    }
    vectors = "vectors.txt"
    assert found["all"] == (1, 0.5, 0.5, vectors) and found["images"] == (0, 0, 0, None)
    assert found["titles"] == (1, 0, 0, vectors) and found["ranks"] == (0, 0.5, 0, None)


def test_targets_without_weights_are_plain_training_and_then_the_label_stages_targets(base, tmp_path):
    run = make_run(base, "targets_titles", 0, tmp_path, 12)
    plain, soft = run.recipe.stages
    (ce,) = make_run(base, "ce", 0, tmp_path, 12).recipe.stages
    assert plain.duration.amount * 5 == pytest.approx(plain.duration.amount + soft.duration.amount)
    assert plain == replace(ce, name="plain", balance=1.0, duration=plain.duration, schedule=plain.schedule)
    assert (soft.balance, soft.targets) == (1.0, "label")
    assert (soft.sampling_weight, soft.loss_weight, soft.start) == ((), (), "previous")
    assert (soft.reweight.evidence.text, soft.reweight.evidence.rank_bins) == (1, 0)
    assert (soft.schedule.lr, soft.optimizer) == (base.stages[-1].schedule.lr, base.stages[-1].optimizer)
    assert run.methods == {"plain": "targets_titles/plain", "label": "targets_titles"}
    assert weight_column(run, "label") == "topk_prob" and weight_column(run, "plain") is None


def test_what_would_read_no_less_is_not_run_twice(base, capsys):
    assert not_run(base, True) == {}
    same = "the recipe and the data have nothing for it to leave out, so it is the same as "
    twice = dict.fromkeys(("images_only", "titles_only", "ranks_only"), same + "ladder")
    twice |= {f"targets_{name}": same + "targets_all" for name in ("images", "titles", "ranks")}
    assert not_run(base, False) == twice
    images = replace(base, stages=restricted(base.stages, READ["images"]))
    assert not_run(images, True) == twice
    with pytest.raises(
        InputError, match=r"--methods: images_only/class: the recipe and the data have nothing .* ladder"
    ):
        ablation.choose_methods("images_only/class", images, True, twice)
    names = ablation.choose_methods("evidence", images, True, twice)
    assert names == ("targets_all", "urnet_images", "balanced_equal")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6 and said[0] == f"note: without images_only: {same}ladder"
    no_label = replace(base, stages=base.stages[:3])
    assert "needs a stage after the first with reweight.method label" in not_run(no_label, True)["targets_all"]
    assert "+label" not in method_names(no_label, not_run(no_label, True))


def test_what_is_compared_starts_where_the_ladder_does_and_trains_the_same_part(base, tmp_path):
    first, *others = (replace(stage, train="top", views=2) for stage in base.stages)
    known = replace(base, stages=(replace(first, start="imagenet"), *others))
    for kind in ("ce", "balanced_equal", "targets_all", "urnet_images", "curriculumnet"):
        stages = make_run(known, kind, 0, tmp_path, 12).recipe.stages
        assert stages[0].start == "imagenet" and {(s.train, s.views) for s in stages if s.name != "label"} == {
            ("top", 2)
        }
    assert [s.start for s in stages] == ["imagenet", "imagenet", "previous", "previous"]


def test_methods_and_settings_that_cannot_be_are_refused(base):
    with pytest.raises(InputError, match=r"--methods: 'ce_equl' is not known; nearest: ce_equal"):
        ablation.choose_methods("ce_equl", base, True)
    with pytest.raises(InputError, match=r"oracle needs truth_train.txt"):
        ablation.choose_methods("oracle", base, False)
    ablation.check_overrides(["stages.class.batch_size=8"], ("ce", "+label"))
    with pytest.raises(InputError, match=r"-o stages.class.batch_size=8: sets the ladder's stages; pci/a"):
        ablation.check_overrides(["data.workers=2", "stages.class.batch_size=8"], ("ce", "pci/a"))
    with pytest.raises(InputError, match=r"urnet_images has its own stages, which it would not change"):
        ablation.check_overrides(["stages.*.batch_size=8"], ("ce", "urnet_images"))


def test_truth_is_matched_by_path_whatever_its_order_and_digested_apart(tmp_path):
    root = write_data(tmp_path / "data")
    rows = rows_of(root)
    np.testing.assert_array_equal(rows.right, RIGHT)
    check_oracle(rows, Path("data"))
    with pytest.raises(InputError, match="class 2 has 3 rows, none of them right"):
        check_oracle(replace(rows, right=rows.right & (rows.labels != 2)), Path("data"))
    (root / "truth_train.txt").unlink()
    assert rows_of(root).right is None and rows_of(root).digest == rows.digest
    assert not rows_of(root).has_metadata
    file = root / "info/val_filelist.txt"
    file.write_text(file.read_text() + "v0.png 1\n")
    assert rows_of(root).digest != rows.digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("google_images_resized/q1/g0.png", ":1: found 'google_images_resized/q1/g0.png' without a class"),
        ("google_images_resized/q1/g0.png 3", r":1: class 3 is outside; accepted: -1\.\.2"),
        ("no/such.png 1", ":1: path 'no/such.png' is in no training list"),
        ("google_images_resized/q1/g4.png 1", ":9: path 'google_images_resized/q1/g4.png' is there a second"),
        (None, ": has no line for 'flickr_images_resized/q1/f2.png'"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(tmp_path, line, message):
    file = write_data(tmp_path / "data") / "truth_train.txt"
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join(others if line is None else [f"{line}\n", first, *others]))
    with pytest.raises(InputError, match=f"truth_train.txt{message}"):
        rows_of(tmp_path / "data")


def test_something_else_in_the_truth_s_place_is_not_taken_for_no_truth(tmp_path):
    file = write_data(tmp_path / "data") / "truth_train.txt"
    file.unlink()
    for make, found in ((file.mkdir, "a folder"), (lambda: file.symlink_to("nowhere"), "a link that leads nowhere")):
        make()
        with pytest.raises(InputError, match=f"truth_train.txt: found {found}; a text file"):
            rows_of(tmp_path / "data")
        file.unlink() if file.is_symlink() else file.rmdir()


def test_two_networks_are_left_out_where_the_ladder_trains_a_part_of_one(base):
    assert "dividemix" not in not_run(base, True)
    part = replace(base, stages=(replace(base.stages[0], train="classifier", start="imagenet"), *base.stages[1:]))
    left = not_run(part, True)
    assert "dividemix" in left and "co_teaching" in left and "mixup" not in left
    assert left["dividemix"].endswith("and stage class of the ladder trains classifier of one")
