"""One step and one stage: accumulation, decay, clipping, optimiser state, bad rows, bad losses, stages."""

import dataclasses
import json
import os
import re
import shutil
import signal

import numpy as np
import paddle
import pytest
from paddle import nn

import models
from tests.helpers.tiny_training import SIZES, write_images, write_recipe
from tests.helpers.train_step import TRANSFORM, Plain, arrays, assert_close, stage, step_input, train_state
from urnet.checkpoints import checkpoint
from urnet.config.recipe import dump_recipe, recipe_tree
from urnet.config.stage import Optimizer
from urnet.core.checks import InputError
from urnet.core.signals import GracefulStop, Interrupted
from urnet.core.top_k import topk
from urnet.data.table.table import Table
from urnet.evaluation.accuracy import ClassAccuracy
from urnet.nn.ema import recompute_batch_norm
from urnet.nn.flat_parameters import FlatParameters, trainable
from urnet.nn.mixup import Mixup
from urnet.nn.normalise import Normalise
from urnet.nn.optimizer import load_optimizer, make_optimizer, optimizer_arrays
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe
from urnet.reweight.class_size import class_size
from urnet.runtime import precision
from urnet.runtime.device_to_host import Downloads
from urnet.training.log import TrainLog
from urnet.training.saving import checkpoints
from urnet.training.step import StepOutcome, train_step
from urnet.training.trainer import Trainer
from urnet.training.unreadable import Unreadable

# --- the step


@pytest.mark.parametrize("mixup", [False, True])
def test_accumulation_moves_the_weights_like_the_large_batch(mixup):
    data = step_input(mixup=Mixup(0.5, 12, seed=0, stage="a", step=0) if mixup else None)
    ends, losses = [], []
    for accumulate in (1, 3, 4):
        made = train_state(stage(accumulate=accumulate, label_smoothing=0.1, optimizer=Optimizer(clip_norm=0.5)))
        losses.append([float(train_step(made, data, 0.5, step).loss) for step in range(3)])
        ends.append(arrays(made.network))
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)
    assert_close(ends[0], ends[1])
    assert_close(ends[0], ends[2])
    assert all((value != ends[0][name]).any() for name, value in arrays(Plain()).items())


def test_one_step_of_sgd_by_hand():
    """Weights after one step from gradients that Paddle's own cross entropy gives."""
    data, made = step_input(), train_state(stage(optimizer=Optimizer(weight_decay=0.01)))
    twin = Normalise(Plain(), TRANSFORM.mean, TRANSFORM.std)
    rows = nn.functional.cross_entropy(
        twin(paddle.to_tensor(data.images)), paddle.to_tensor(data.labels), reduction="none"
    ).squeeze(-1)
    loss = (rows * paddle.to_tensor(data.weight)).sum() / float(data.weight.sum())
    loss.backward()
    assert float(train_step(made, data, 0.3, 0).loss) == pytest.approx(float(loss), rel=1e-5)
    for name, p in trainable(twin.network).items():
        decay = 0.01 if p.ndim > 1 else 0.0
        expected = p.numpy() - 0.3 * (p.grad.numpy() + decay * p.numpy())
        np.testing.assert_allclose(arrays(made.network)[name], expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_weight_decay_spares_vectors(name):
    network = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(144, 5))
    before = {key: p.numpy() for key, p in trainable(network).items()}
    flat = FlatParameters(network)
    optimizer = make_optimizer(flat, Optimizer(name=name, weight_decay=0.1))
    optimizer.set_lr(0.5)
    for p in trainable(network).values():
        (p * 0).sum().backward()  # gradients of 0: only decay moves anything
    flat.gather_gradients()
    optimizer.step()
    for key, p in trainable(network).items():
        expected = before[key] * (0.95 if p.ndim > 1 else 1)
        np.testing.assert_allclose(p.numpy(), expected, rtol=1e-6, err_msg=key)


def test_clipping_is_over_all_parameters_as_one_vector():
    data, start = step_input(), arrays(Plain())
    settings = {"momentum": 0.0, "weight_decay": 0.0}
    moves = {}
    for clip in (None, 0.01):
        made = train_state(stage(optimizer=Optimizer(clip_norm=clip, **settings)))
        train_step(made, data, 1.0, 0)
        moves[clip] = {name: value - start[name] for name, value in arrays(made.network).items()}
    free = np.sqrt(sum((move**2).sum() for move in moves[None].values()))
    assert free > 0.01
    for name, move in moves[0.01].items():
        np.testing.assert_allclose(move, moves[None][name] * (0.01 / free), atol=1e-7, rtol=1e-3)


def test_a_batch_without_weight_leaves_the_network_finite():
    made = train_state(stage())
    empty = dataclasses.replace(step_input(), weight=np.zeros(12, np.float32))
    assert float(train_step(made, empty, 0.1, 0).loss) == 0
    assert all(np.isfinite(value).all() for value in arrays(made.network).values())


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_optimiser_state_survives_another_process_worth_of_names(name):
    settings = stage(optimizer=Optimizer(name=name), ema=None)
    first, data = train_state(settings), step_input()
    train_step(first, data, 0.1, 0)
    state = optimizer_arrays(first.optimizer, first.flat)
    kinds = {"momentum": {"velocity"}, "adamw": {"moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc"}}
    assert {key.split("/")[0] for key in state} == kinds[name]
    assert {key.split("/")[1] for key in state} == set(trainable(first.network))
    second = train_state(settings, Plain(seed=9))  # its parameters have other names inside Paddle
    checkpoint.load_into(second.network, arrays(first.network))
    load_optimizer(second.optimizer, second.flat, state)
    assert optimizer_arrays(second.optimizer, second.flat).keys() == state.keys()  # also before a step
    for step in (1, 2):
        train_step(first, data, 0.1, step)
        train_step(second, data, 0.1, step)
    a, b = arrays(first.network), arrays(second.network)
    assert all(a[key].tobytes() == b[key].tobytes() for key in a)
    with pytest.raises(InputError, match="'velocity/nope' is of no parameter"):
        load_optimizer(second.optimizer, second.flat, {"velocity/nope": np.zeros(1)})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_a_wish_and_the_second_one_acts(number, code, capsys):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with GracefulStop() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=number.name) as stopped:
            stop.check()
        assert signal.getsignal(number) == before[number == signal.SIGINT]
    assert stopped.value.exit_code == code
    assert f"{number.name}: stopping after this step" in capsys.readouterr().err
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


# --- device and number format


def test_the_cpu_has_no_mixed_precision():
    assert precision.choose_amp("off", "cpu") is None
    assert precision.choose_amp("auto", "cpu", "stages.a.amp") is None
    for wanted in ("fp16", "bf16"):
        with pytest.raises(InputError, match=f"stages.a.amp: found '{wanted}', .*accepted: off, auto"):
            precision.choose_amp(wanted, "cpu", "stages.a.amp")


@pytest.mark.skipif(precision.has_gpu(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert precision.choose_device("auto") == "cpu"
    assert precision.choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"device: found 'gpu', but this Paddle .*; accepted here: auto, cpu"):
        precision.choose_device("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not precision.has_gpu(), reason="needs a GPU")
@pytest.mark.parametrize("amp", ["float16", "bfloat16"])
def test_mixed_precision_follows_full_precision(amp):
    precision.choose_device("gpu")
    losses = []
    for kind in (None, amp):
        made = train_state(stage(accumulate=2, optimizer=Optimizer(clip_norm=1.0)), amp=kind)
        losses.append([float(train_step(made, step_input(), 0.1, step).loss) for step in range(5)])
        state = made.state()
        made.load_state(state["optimizer"], state["extra"], state["scaler"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


# --- a whole stage, in this process


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def train(recipe, **options):
    return run_recipe(recipe, lambda: models.build("ResNeXt_small32", 3), **options)


def recipe_of(images, tmp_path, *overrides, **keys):
    path = write_recipe(images, **{"duration": "8 steps", **keys})
    return load_recipe(path, [f"output={tmp_path}/out", *overrides])


def test_what_a_stage_leaves(images, tmp_path):
    recipe = recipe_of(images, tmp_path)
    (result,) = train(recipe)
    folder = tmp_path / "out/tiny/class"
    assert result.folder == folder
    assert result.last["step"] == 8
    assert result.best["top1"] >= result.last["top1"]
    table = Table.open(tmp_path / "out/tiny/table")
    labels = table.column("label")
    assert np.bincount(labels).tolist() == list(SIZES)
    share = 0.5 * np.array(SIZES) / 61 + 0.5 / 3  # balance 0.5: the weight sees what is drawn
    expected = class_size(labels, 3, sampled_share=share)["class_weight"]
    np.testing.assert_array_equal(table.column("class_weight"), expected)
    log = (folder / "log.txt").read_text()
    assert "step 8/8  epoch 1.14  loss " in log
    assert "epoch 1 done: loss " in log
    assert "of the time waiting for data" in log
    assert log.count("evaluation at step") == 2
    info = checkpoint.describe(folder)  # a stage's folder: its best
    assert dump_recipe(info.recipe) == dump_recipe(recipe)
    assert info.state["best"] == result.best
    assert info.state["base_hash"] == table.base_hash


def test_the_saved_weights_are_those_that_were_evaluated(images, tmp_path):
    """final/ = moving average + statistics recomputed from the same batches; the logged accuracy is its."""
    recipe = recipe_of(images, tmp_path)
    (result,) = train(recipe)
    weights = checkpoint.read_weights(result.folder / "final")
    kept = checkpoint.load_training(result.folder / "step-00000006")
    assert set(kept.extra["ema"]) == set(trainable(models.build("ResNeXt_small32", 3)))
    network = models.build("ResNeXt_small32", 3)
    checkpoint.load_into(network, weights)
    model = Normalise(network, recipe.transform.mean, recipe.transform.std)
    model.eval()
    job = stage_job(recipe, network, tmp_path)
    accuracy = ClassAccuracy(3)
    for batch in job.validation_loader():
        with paddle.no_grad():
            logits = model(paddle.to_tensor(batch.images)).numpy()
        accuracy.update(topk(logits, 3)[0], job.validation.labels[batch.rows])
    assert accuracy.result()["top1"] == pytest.approx(result.last["top1"])
    recompute_batch_norm(network, (model.normalise(paddle.to_tensor(b.images)) for b in job.bn_loader(2)))
    assert_close(arrays(network), weights)


def test_without_a_moving_average_the_raw_weights_are_used(images, tmp_path):
    recipe = recipe_of(images, tmp_path, ema=None, checkpoint_every="8 steps", keep=1)
    (result,) = train(recipe)
    final, kept = (result.folder / name for name in ("final", "step-00000008"))
    assert (final / "model.safetensors").read_bytes() == (kept / "model.safetensors").read_bytes()
    assert not (kept / "ema.safetensors").exists()


def stage_job(recipe, network, tmp_path):
    """The StageJob of the only stage, as urnet.pipeline.run makes it."""
    from urnet.data.lists.build_table import open_or_build, read_validation
    from urnet.data.sampling.epoch_sampler import EpochSampler
    from urnet.training.stage_job import StageJob

    table = open_or_build(recipe.data, tmp_path / "out/tiny/table")
    labels, only = table.column("label"), recipe.stages[0]
    return StageJob(
        recipe=recipe,
        stage=only,
        network=network,
        amp=None,
        table=table,
        labels=labels,
        loss_weight=np.ones(len(labels), np.float32),
        validation=read_validation(recipe.data),
        sampler=EpochSampler(labels, balance=only.balance, seed=recipe.seed, stage=only.name),
        folder=tmp_path / "again",
        curves=tmp_path / "again/curves",
    )


def test_a_loss_that_is_not_finite_names_stage_epoch_step_and_rows(images, tmp_path):
    recipe = recipe_of(images, tmp_path)
    network = models.build("ResNeXt_small32", 3)
    job = stage_job(recipe, network, tmp_path)
    third = next(iter(job.sampler.batches(0, 8, 2)))
    job.loss_weight[third[0]] = np.nan  # first drawn in the third update, or before
    steps = [step for step, rows in enumerate(job.sampler.batches(0, 8)) if third[0] in rows]
    rows = next(iter(job.sampler.batches(0, 8, steps[0])))
    with pytest.raises(FloatingPointError) as error:
        Trainer(job).train()
    where = f"stage class, epoch 0, step {steps[0]}: the loss is nan; rows"
    assert where in str(error.value)
    assert " ".join(map(str, rows)) in str(error.value)
    assert f"{where} {' '.join(map(str, rows))}\n" in (tmp_path / "again/log.txt").read_text()


@pytest.fixture
def broken_images(tmp_path):
    """Two rows of the training list whose images cannot be read."""
    folder = tmp_path / "broken"
    write_images(folder)
    (folder / "train/003.png").write_bytes(b"no image")
    (folder / "train/040.png").unlink()
    return folder


def test_unreadable_images_weigh_nothing_and_are_listed(broken_images, tmp_path):
    recipe = recipe_of(broken_images, tmp_path, "data.max_bad=2", duration="16 steps")
    (result,) = train(recipe)
    lines = [line.split("\t") for line in (result.folder / "unreadable.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["3", "40"]
    assert lines[0][1].endswith("train/003.png")
    assert all(len(line[2]) > 3 for line in lines)
    log = (result.folder / "log.txt").read_text()
    assert log.count("unreadable, weight 0: ") == 2


def test_a_training_that_can_read_no_image_is_refused(images, tmp_path):
    """However many may be unreadable; of a class, or of all."""
    folder = shutil.copytree(images, tmp_path / "none")
    for image in (folder / "train").glob("*.png"):
        image.write_bytes(b"no image")
    recipe = recipe_of(folder, tmp_path, "data.max_bad=100", duration="3 steps")
    with pytest.raises(
        InputError,
        match=r"none of the \d+ training images so far could be read \(they are listed in .*\); the "
        r"first: \S+\.png: ",
    ):
        train(recipe)
    labels, names = np.array([0, 1, 1, 2, 2]), ["", "oak", "elm"]
    bad = Unreadable(tmp_path / "bad.txt", 9, lambda row: True)
    bad.take({1: ("a.jpg", "cut off"), 3: ("b.jpg", "empty")}, Silent())
    bad.check_classes(labels, names)
    bad.take({2: ("c.jpg", "empty")}, Silent())
    with pytest.raises(
        InputError, match=r"^all 2 training images of class 1 \(oak\) are unr.*the first: a\.jpg: cut off \(row 1\)$"
    ):
        bad.check_classes(labels, names)


class Silent:
    def line(self, text, show):
        pass


def test_resuming_does_not_forgive_unreadable_images_but_mended_ones_are_fine(broken_images, tmp_path):
    recipe = recipe_of(broken_images, tmp_path, "data.max_bad=1", duration="16 steps")
    for resume in (False, True, True):
        with pytest.raises(
            InputError,
            match=r"train/0.*2 are unreadable so far, data\.max_bad accepts 1 .*they are "
            r"listed in",
        ):
            train(recipe, resume=resume)
    good = (broken_images / "train/000.png").read_bytes()
    (broken_images / "train/040.png").write_bytes(good)
    (result,) = train(recipe, resume=True)
    assert result.last["step"] == 16
    lines = (result.folder / "unreadable.txt").read_text().splitlines()
    assert "3" in [line.split("\t")[0] for line in lines]


def test_file_names_with_line_breaks_do_not_break_the_list_of_unreadable_ones(tmp_path):
    class Log:
        def line(self, text, show):
            assert text == r"unreadable, weight 0: a\x85b\tc\nd\u2028é 図: no\rimage (row 7)"

    bad = {7: ("a\x85b\tc\nd\u2028é 図", "no\rimage")}
    for _ in range(2):
        Unreadable(tmp_path / "unreadable.txt", 1, lambda row: row == 7).take(bad, Log())
    text = (tmp_path / "unreadable.txt").read_text(encoding="utf-8")
    assert text == "7\ta\\x85b\\tc\\nd\\u2028é 図\tno\\rimage\n"
    with pytest.raises(InputError, match="row 7"):
        Unreadable(tmp_path / "unreadable.txt", 0, lambda row: row == 7)


class Steep(nn.Layer):
    """A network whose loss is finite and whose gradient is not: the square root's slope at 0."""

    recompute = False

    def __init__(self):
        super().__init__()
        self.fc, self.steep = nn.Linear(3, 3), self.create_parameter([1])
        self.steep.set_value(np.zeros(1, np.float32))

    def forward(self, x):
        return self.fc(x.mean([2, 3])) + paddle.sqrt(self.steep)


def test_a_gradient_that_is_not_finite_names_stage_epoch_step_and_rows(images, tmp_path):
    recipe = recipe_of(images, tmp_path, ema=None, checkpoint_every="1 step", mixup=0.0)
    with pytest.raises(FloatingPointError) as error:
        run_recipe(recipe, Steep)
    words = r"stage class, epoch 0, step 0: a gradient is not finite \(the loss is [\d.]+\); rows of the batch: "
    found = re.match(words + r"((\d+ )+\d+) ", str(error.value))
    assert found and len(found[1].split()) == 8
    assert not checkpoints(tmp_path / "out/tiny/class")


def test_loss_scaling_skips_a_step_of_gradients_that_are_not_finite_and_counts_it(images, tmp_path):
    (chosen,) = recipe_of(images, tmp_path).stages
    log = TrainLog(chosen, tmp_path, tmp_path / "curves", step=0, total=8, per_epoch=8, rows_of=lambda step: [step])
    for step, skipped in enumerate([0, 1, 1, 0]):
        outcome = StepOutcome(Downloads()(paddle.to_tensor([1.0, skipped, 0.0])))
        log.step(step, 8, outcome, 0.1, 0.0, amp="float16")
    log.close()
    lines = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("step")]
    assert [line.rpartition("  ")[2] for line in lines] == ["skipped 1", "skipped 2"]
    assert "4,skipped,2" in (tmp_path / "curves.csv").read_text()


def test_weights_that_are_not_finite_are_never_kept(images, tmp_path, monkeypatch):
    """The fourth update leaves NaN, whose loss the next one would have shown: too late for a checkpoint."""
    recipe = recipe_of(images, tmp_path, checkpoint_every="2 steps", keep=1, ema=None)
    real = Trainer._step

    def step_and_break(self, *arguments):
        real(self, *arguments)
        if self.progress.step == 4:
            self.job.network.fc.bias.set_value(np.array([0, np.nan, 0], np.float32))

    monkeypatch.setattr(Trainer, "_step", step_and_break)
    with pytest.raises(FloatingPointError, match=r"class, epoch 0, step 3: .* are not finite \(fc.bias\)"):
        train(recipe)
    folder = tmp_path / "out/tiny/class"
    assert [path.name for path in checkpoints(folder)] == ["step-00000002"]
    monkeypatch.undo()
    (result,) = train(recipe, resume=True)
    assert result.last["step"] == 8


def test_final_is_written_when_all_else_is_reported(images, tmp_path, monkeypatch):
    """final/ marks a stage as finished: a run killed right after it would never report the rest."""
    seen = []
    real = checkpoint.save

    def save(folder, **parts):
        if folder.name == "final":
            seen.append((folder.parent / "curves.csv").read_text().count("8,val/top1,"))
            seen.append((folder.parent / "log.txt").read_text().count("evaluation at step 8: "))
        real(folder, **parts)

    monkeypatch.setattr(checkpoint, "save", save)
    train(recipe_of(images, tmp_path))
    assert seen == [1, 1]


def test_an_unreadable_row_moves_the_weights_as_if_its_weight_were_zero():
    data = step_input()
    black = dataclasses.replace(data, images=data.images.copy(), weight=data.weight.copy())
    black.images[4], black.weight[4] = 0, 0
    other = dataclasses.replace(black, labels=data.labels.copy())
    other.labels[4] = (data.labels[4] + 1) % 5
    ends = []
    for made, values in ((train_state(stage()), black), (train_state(stage()), other)):
        train_step(made, values, 0.1, 0)
        ends.append(arrays(made.network))
    assert_close(ends[0], ends[1], atol=0)  # its label has no say


# --- stages


def two_stages(images, tmp_path, *overrides):
    more = {
        "name": "more",
        "duration": "3 steps",
        "batch_size": 8,
        "loss_weight": ["class_weight"],
        "sampling_weight": [],
        "schedule": {"lr": 0.01},
    }
    recipe = recipe_of(images, tmp_path, duration="4 steps")
    path = tmp_path / "two.yaml"
    tree = recipe_tree(recipe)
    tree["stages"].append(more)
    path.write_text(json.dumps(tree))
    return load_recipe(path, overrides)


def test_a_signal_while_a_stage_is_finished_begins_no_further_one(images, tmp_path, monkeypatch):
    real = checkpoint.save

    def save(folder, **parts):
        if folder.name == "final":
            os.kill(os.getpid(), signal.SIGTERM)
        real(folder, **parts)

    monkeypatch.setattr(checkpoint, "save", save)
    recipe = two_stages(images, tmp_path)
    with pytest.raises(Interrupted, match="SIGTERM"):
        train(recipe)
    home = tmp_path / "out/tiny"
    assert (home / "class/final/state.json").exists()
    assert not (home / "more").exists()
    monkeypatch.undo()
    assert [result.last["step"] for result in train(recipe, resume=True)] == [4, 3]


def test_a_stage_may_start_from_what_the_same_run_writes(images, tmp_path):
    best = tmp_path / "out/tiny/class/best"
    assert len(train(two_stages(images, tmp_path, f"stages.more.start={best}"))) == 2


def test_start_names_a_checkpoint_or_scratch(images, tmp_path):
    recipe = two_stages(images, tmp_path)
    train(recipe, only="class")
    best = tmp_path / "out/tiny/class/best"
    from urnet.pipeline.stage_network import start_network

    def begin(start):
        home, build = tmp_path / "out/tiny", lambda: models.build("ResNeXt_small32", 3)
        return arrays(start_network(recipe, recipe.stages[1], start, home, build))

    assert_close(begin(str(best)), checkpoint.read_weights(best), atol=0)
    final = tmp_path / "out/tiny/class/final"
    assert_close(begin("previous"), checkpoint.read_weights(final), atol=0)
    assert_close(begin("scratch"), begin("scratch"), atol=0)
    assert (begin("scratch")["fc.weight"] != begin("previous")["fc.weight"]).any()
    with pytest.raises(InputError, match="does not exist"):
        begin(str(tmp_path / "nowhere"))


def test_columns_of_another_reweighting_are_not_written_over(images, tmp_path):
    train(recipe_of(images, tmp_path, duration="3 steps"))
    shared = f"data.table={tmp_path}/out/tiny/table"
    train(recipe_of(images, tmp_path, "name=same", shared, duration="3 steps"))  # the same settings: reused
    with pytest.raises(InputError, match=r"class\.arrow: was written by stage class with other settings"):
        train(recipe_of(images, tmp_path, "name=other", shared, balance=0.9))
    assert not (tmp_path / "out/other/class").exists()  # what was refused is not an unfinished training
