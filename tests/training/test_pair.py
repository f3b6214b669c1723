"""Two networks in a stage: their step, how rows are divided, what a checkpoint holds, what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import paddle
import pytest

import models
import urnet
from tests.helpers.tiny_training import write_images, write_recipe
from tests.helpers.train_step import Plain, arrays, assert_close, stage, step_input, train_state
from tools import convert_checkpoint
from urnet.baselines.loss_mixture import clean_probability
from urnet.checkpoints import checkpoint
from urnet.checkpoints.second import joined, read_second, second_file
from urnet.config.duration import Duration
from urnet.config.remedies import CoTeaching, DivideMix
from urnet.config.stage import Optimizer
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop
from urnet.data.images.decode import read_image
from urnet.data.images.transforms import eval_transform
from urnet.nn.pair import Pair
from urnet.nn.pair_losses import dividemix_loss, dividemix_targets
from urnet.nn.schedule import pair_plan
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import plan_recipe, run_recipe
from urnet.training.pair_objective import PairInput
from urnet.training.passes import Passes, passes_per_image
from urnet.training.step import train_step
from urnet.training.trainer import Trainer

STAGE = {
    "mixup": 0.0,
    "label_smoothing": 0.0,
    "loss_weight": [],
    "reweight": None,
    "balance": 1.0,
    "duration": "10 steps",
    "checkpoint_every": "100 steps",
    "eval_every": "100 steps",
    "accumulate": 1,
}
DIVIDE = {"warmup": "7 steps", "ramp": "2 steps"}


def random():
    return np.random.default_rng(3)


# --- the step


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_where_nothing_is_forgotten_each_network_is_trained_as_if_alone(accumulate, clip):
    how = {"optimizer": Optimizer(clip_norm=clip, classifier_lr=0.5), "accumulate": accumulate}
    made = train_state(stage(co_teaching=CoTeaching(0.0), **how), Pair(Plain(0), Plain(1)))
    alone = [train_state(stage(**how), Plain(seed)) for seed in (0, 1)]
    for step in range(3):
        data = step_input(seed=step)
        both = train_step(made, dataclasses.replace(data, pair=PairInput(0.0, None, random())), 0.5, step)
        losses = [float(train_step(each, data, 0.5, step).loss) for each in alone]
        assert float(both.loss) == pytest.approx(sum(losses), rel=1e-5)
    for network, each in zip((made.network.first, made.network.second), alone, strict=True):
        assert_close(arrays(network), arrays(each.network))


def test_the_warm_up_trains_both_on_the_first_view():
    made = train_state(stage(dividemix=DivideMix()), Pair(Plain(0), Plain(1)))
    alone = [train_state(stage(), Plain(seed)) for seed in (0, 1)]
    data, other = step_input(), step_input(seed=9)
    views = np.stack([data.images, other.images], axis=1)
    train_step(made, dataclasses.replace(data, images=views, pair=PairInput(0.0, None, random())), 0.5, 0)
    for network, each in zip((made.network.first, made.network.second), alone, strict=True):
        train_step(each, data, 0.5, 0)
        assert_close(arrays(network), arrays(each.network))


def test_a_step_of_dividemix_by_hand():
    """Targets from both networks' predictions over the views, each network's own mixing, the loss of each."""
    settings = stage(dividemix=DivideMix(alpha=0.8))
    made, twin = train_state(settings, Pair(Plain(0), Plain(1))), Pair(Plain(0), Plain(1))
    rng = np.random.default_rng(1)
    data, n = step_input(seed=4), 12
    there = np.arange(n) != 2  # one is unreadable
    images = rng.integers(0, 256, (n, 2, 8, 8, 3)).astype(np.uint8)
    clean = rng.random((2, n)).astype(np.float32)
    certain = np.arange(n) == 6
    given = dataclasses.replace(
        data, images=images, weight=there.astype(np.float32), certain=certain, pair=PairInput(10.0, clean, random())
    )
    found = float(train_step(made, given, 0.5, 0).loss)

    view_by_view = np.concatenate([images[:, 0], images[:, 1]])
    shown = train_state(settings, twin).model.normalise
    networks = (twin.first, twin.second)
    p = [paddle.nn.functional.softmax(each(shown(paddle.to_tensor(view_by_view)))).numpy() for each in networks]
    p = [(each[:n] + each[n:]) / 2 for each in p]
    draw, expected = random(), 0.0
    for k in (0, 1):
        w = np.where(certain, 1, clean[k]).astype(np.float32)
        labelled = there & (w > 0.5)
        lam = draw.beta(0.8, 0.8)
        lam, partner = max(lam, 1 - lam), draw.permutation(2 * n)
        partner = np.where(np.tile(there, 2)[partner], partner, np.arange(2 * n))
        tensors = map(paddle.to_tensor, (data.labels, w, labelled, p[k], (p[0] + p[1]) / 2))
        targets = np.tile(dividemix_targets(*tensors, 0.5).numpy(), (2, 1))
        mixed = lam * view_by_view + (1 - lam) * view_by_view[partner]
        logits = networks[k](shown(paddle.to_tensor(mixed.astype(np.float32))))
        mixed_targets = paddle.to_tensor((lam * targets + (1 - lam) * targets[partner]).astype(np.float32))
        kinds = [paddle.to_tensor(np.tile(rows, 2)) for rows in (labelled, there & ~labelled)]
        expected += float(dividemix_loss(logits, mixed_targets, *kinds, 10.0))
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_batch_without_a_readable_image_leaves_the_weights_finite():
    nothing = np.zeros(12, np.float32)
    for settings, clean in (({"co_teaching": CoTeaching(0.5)}, None), ({"dividemix": DivideMix()}, np.ones((2, 12)))):
        made = train_state(stage(**settings), Pair(Plain(0), Plain(1)))
        data = dataclasses.replace(step_input(), weight=nothing, pair=PairInput(0.5, clean, random()))
        assert float(train_step(made, data, 0.1, 0).loss) == 0
        assert all(np.isfinite(value).all() for value in arrays(made.network).values())


def test_what_rises_with_the_steps():
    ramp = Duration(4, "steps")
    begin, rate = pair_plan(stage(co_teaching=CoTeaching(0.4, ramp)), 10)
    assert (begin, [rate(step) for step in (0, 1, 4, 99)]) == (0, [0, 0.1, 0.4, 0.4])
    mix = DivideMix(Duration(1, "epochs"), unlabelled_weight=8, ramp=ramp)
    settings = dataclasses.replace(stage(dividemix=mix), duration=Duration(3, "epochs"))
    begin, weight = pair_plan(settings, 10)
    assert (begin, [weight(step) for step in (0, 10, 11, 14, 29)]) == (10, [0, 0, 2, 8, 8])
    none = dataclasses.replace(mix, ramp=Duration(0, "steps"))
    weight = pair_plan(dataclasses.replace(settings, dividemix=none), 10)[1]
    assert [weight(step) for step in (9, 10)] == [0, 8]


def test_passes_are_predicted():
    """Warm-up two and two; then 4 V forward, 2 V backward, and two forward of the division."""
    assert passes_per_image(stage(co_teaching=CoTeaching(0.2)), 144) == Passes(2, 2)
    mix = stage(dividemix=DivideMix(Duration(1, "epochs"), views=3))
    mix = dataclasses.replace(mix, duration=Duration(4, "epochs"))
    assert passes_per_image(mix, 144) == Passes(0.25 * 2 + 0.75 * 14, 0.25 * 2 + 0.75 * 6)
    assert passes_per_image(dataclasses.replace(mix, duration=Duration(48, "steps")), 144) == passes_per_image(mix, 144)


# --- a whole stage


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def recipe_of(images, out, *overrides, **keys):
    path = write_recipe(images, **{**STAGE, **keys})
    return load_recipe(path, [f"output={out}", "model.name=ResNet8_small32", *overrides])


def train(recipe, **options):
    return run_recipe(recipe, lambda: models.build(recipe.model.name, 3), **options)


@pytest.fixture(scope="module")
def divided(images, tmp_path_factory):
    """A finished stage of DivideMix: its recipe and its folder."""
    out = tmp_path_factory.mktemp("out")
    recipe = recipe_of(images, out, dividemix=DIVIDE)
    train(recipe)
    return recipe, out / "tiny/class"


def test_predictions_are_those_that_were_validated(divided, images, tmp_path):
    recipe, folder = divided
    final = folder / "final"
    first, second = checkpoint.read_weights(final), read_second(final)
    assert first.keys() == second.keys() and not any(key.startswith(("first.", "second.")) for key in first)
    assert any((first[key] != second[key]).any() for key in first)
    lines = [line.split() for line in (images / "val.txt").read_text().splitlines()]
    files, labels = [images / name for name, _ in lines], np.array([int(label) for _, label in lines])
    predictor = urnet.load_predictor(final, build=models.build)
    found = predictor(files)
    state = json.loads((final / "state.json").read_text())
    assert np.mean(found.argmax(axis=1) == labels) == pytest.approx(state["last"]["image_top1"])
    alone = []
    for name in ("model", "second"):
        copy = shutil.copy(final / f"{name}.safetensors", tmp_path / f"{name}-alone.safetensors")
        how = {"model": recipe.model.name, "n_classes": 3, "transform": recipe.transform}
        alone.append(urnet.load_predictor(copy, build=models.build, **how)(files))
    np.testing.assert_allclose(found, (alone[0] + alone[1]) / 2, atol=1e-5)
    assert predictor.top(files).in_classes is not None
    assert predictor.features(files[:2]).shape[1] == 2 * models.build(recipe.model.name, 3).feature_width


def test_a_form_that_holds_one_network_is_refused(divided, tmp_path):
    target = tmp_path / "one.pdparams"
    with pytest.raises(InputError, match="holds two networks that predict together"):
        convert_checkpoint.main([str(divided[1] / "final"), str(target)])
    assert not target.exists()


def test_rows_are_divided_by_the_other_network_s_losses(divided, tmp_path):
    recipe, folder = divided
    assert (folder / "log.txt").read_text().count("divided at step") == 1
    counted = json.loads((folder / "final/state.json").read_text())["passes"]
    statistics = 2 * 2 * 8  # of the averaged weights, once: two networks, two batches
    expected = Passes(2, 2) * (7 * 8) + Passes(8, 4) * (3 * 8) + Passes(forward=2 * 61 + statistics)
    assert counted == dataclasses.asdict(expected)
    pair = Pair(*(models.build(recipe.model.name, 3) for _ in range(2)))
    job = job_of(recipe, pair, tmp_path)
    checkpoint.load_into(pair, joined(checkpoint.read_weights(folder / "final"), read_second(folder / "final")))
    trainer = Trainer(job)
    with trainer.open_log() as log, GracefulStop() as stop:
        passes = trainer.pair.divide(trainer.state, stop, log, 7)
    assert passes == 2 * len(job.labels)
    pair.eval()
    shown = [eval_transform(read_image(job.table.path(row)), recipe.transform) for row in range(len(job.labels))]
    shown = trainer.state.model.normalise(paddle.to_tensor(np.stack(shown)))
    told = trainer.pair.of(7, np.arange(len(job.labels))).clean
    labels = paddle.to_tensor(job.labels.astype(np.int64))
    for k, other in enumerate((pair.second, pair.first)):
        losses = paddle.nn.functional.cross_entropy(other(shown), labels, reduction="none").numpy().ravel()
        np.testing.assert_allclose(told[k], clean_probability(losses, recipe.seed), atol=1e-3)
    assert [trainer.pair.due(step) for step in (0, 6, 7, 8, 14)] == [False, False, True, False, True]


def job_of(recipe, network, folder):
    from urnet.data.table.table import Table
    from urnet.training.stage_job import StageJob, make_sampler

    table = Table.open(f"{recipe.output}/tiny/table")
    labels = table.column("label")
    return StageJob(
        recipe=recipe,
        stage=recipe.stages[0],
        network=network,
        amp=None,
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        sampler=make_sampler(recipe, recipe.stages[0], labels),
        validation=None,
        folder=folder / "run",
        curves=folder / "curves",
    )


def test_a_later_stage_goes_on_from_the_first_network(divided, images, tmp_path, capsys):
    _, folder = divided
    start = [f"stages.class.start={folder / 'final'}", "stages.class.duration=1 steps", "stages.class.ema=null"]
    recipe = recipe_of(images, tmp_path, *start, schedule={"lr": 1e-12})
    train(recipe)
    last, first = checkpoint.read_weights(tmp_path / "tiny/class/final"), checkpoint.read_weights(folder / "final")
    np.testing.assert_allclose(last["fc.weight"], first["fc.weight"], atol=1e-6)
    assert second_file(tmp_path / "tiny/class/final") is None
    assert f"{folder / 'final'} holds two networks; it starts from the first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dividemix": {"warmup": "10 steps"}}, r"dividemix.warmup: 10 steps is 10 steps, and the stage has 10"),
        ({"dividemix": {}, "co_teaching": {"forget_rate": 0.1}}, "null with co_teaching"),
        ({"dividemix": DIVIDE, "mixup": 0.2}, "mixup: found 0.2; accepted: 0 with dividemix"),
        ({"dividemix": DIVIDE, "loss": {"name": "symmetric"}}, "accepted: cross_entropy with dividemix"),
        ({"dividemix": DIVIDE, "loss_weight": ["class_weight"]}, r"accepted: \[\] with dividemix"),
        ({"co_teaching": {"forget_rate": 1.0}}, "0 <= forget_rate < 1"),
        ({"co_teaching": {"forget_rate": 0.2}, "targets": "label"}, "given, as co_teaching works on the given labels"),
        ({"co_teaching": {"forget_rate": 0.2}, "train": "top"}, "all, as co_teaching trains two whole networks"),
    ],
)
def test_what_two_networks_do_not_go_with_is_refused(images, tmp_path, keys, said):
    with pytest.raises(InputError, match=said):
        plan_recipe(recipe_of(images, tmp_path, **keys), lambda: models.build("ResNet8_small32", 3))


def test_two_networks_that_would_begin_as_one_are_refused(divided, images, tmp_path):
    start = {"start": str(divided[1] / "final"), "co_teaching": {"forget_rate": 0.2}}
    with pytest.raises(InputError, match="must differ"):
        recipe_of(images, tmp_path, **start)
    fits = recipe_of(images, tmp_path, **start, finetune=True)
    with pytest.raises(
        InputError, match="whose classifier fits, so the two networks of co_teaching would start identical"
    ):
        plan_recipe(fits, lambda: models.build("ResNet8_small32", 3))
