"""From measured images to columns: with and without texts and ranks, unreadable ones, done again or not."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

import models
from tests.helpers.tiny_stages import SHORT
from tests.helpers.webvision import N_CLASSES, write_web
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.features.store import Measurement
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import plan_recipe, run_recipe
from urnet.reweight.evidence.heads_and_votes import Known, heads_and_votes
from urnet.reweight.evidence.out_of_fold import Settings
from urnet.reweight.label_quality import label_quality


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    root = tmp_path_factory.mktemp("web")
    write_web(root, 2)
    return root


def recipe_of(web, output, reweight, *overrides, **stage):
    """A class stage, then one that reweights, 2 steps each."""
    tree = {
        "name": "r",
        "output": str(output),
        "data": {"root": str(web), "n_classes": N_CLASSES, "max_bad": 3},
        "transform": {"size": 32},
        "model": {"name": "ResNet8_small32"},
        "stages": [{"name": "class", **SHORT}, {"name": "next", **SHORT, "reweight": reweight, **stage}],
    }
    path = Path(output) / "r.yaml"
    path.write_text(json.dumps(tree))
    return load_recipe(path, overrides)


def columns_after(recipe):
    """The table after both stages; the first one is trained once for each data set, and then copied."""

    def build():
        return models.build(recipe.model.name, N_CLASSES)

    first, home = Path(recipe.data.root) / "runs", Path(recipe.output) / recipe.name
    if not first.exists():
        run_recipe(dataclasses.replace(recipe, output=str(first), name="first"), build, until="class")
    if not home.exists():
        shutil.copytree(first / "first", home)
    run_recipe(recipe, build)
    return Table.open(home / "table")


def means_by_class(values, labels):
    return [values[labels == c].mean() for c in range(N_CLASSES)]


@pytest.fixture(scope="module")
def instance(web, tmp_path_factory):
    return columns_after(recipe_of(web, tmp_path_factory.mktemp("instance"), {"method": "instance"}))


@pytest.mark.parametrize("off", ["rank_bins", "noise"])  # ranks speak through the noise model alone
def test_without_texts_and_ranks_the_confidence_is_all(web, instance, tmp_path, off):
    table = columns_after(recipe_of(web, tmp_path, {"method": "instance", "evidence": {"text": 0, off: 0}}))
    np.testing.assert_array_equal(table.column("relevance"), table.column("confidence"))
    np.testing.assert_allclose(table.column("confidence"), instance.column("confidence"), rtol=1e-5)


def test_texts_and_ranks_change_the_relevance(instance):
    assert (instance.column("relevance") != instance.column("confidence")).any()
    texts = instance.strings("text", np.arange(instance.n_rows))
    words = ("one", "two", "three")
    labels = instance.column("label")
    agrees = np.array([text.startswith(words[label]) for text, label in zip(texts, labels, strict=True)])
    believed = instance.column("relevance")
    assert believed[agrees].mean() > believed[~agrees].mean() + 0.1
    assert set(np.unique(instance.column("suggested"))) <= set(range(N_CLASSES))


def test_weights_follow_the_rank_in_the_class_or_the_probability(web, instance, tmp_path):
    labels, believed = instance.column("label"), instance.column("relevance").astype(np.float64)
    rank = np.empty(len(labels))
    for c in range(N_CLASSES):  # by hand: the share of the class below, equal ones counting half
        own = believed[labels == c]
        below, equal = (own[:, None] > own).sum(1), (own[:, None] == own).sum(1)
        rank[labels == c] = (below + equal / 2) / len(own)
    settings = {"method": "instance", "scale": "probability", "power": 2}
    squared = columns_after(recipe_of(web, tmp_path, settings)).column("instance_weight")
    for raw, found in (
        (np.maximum(rank, 0.02), instance.column("instance_weight")),
        (np.maximum(believed, 0.02) ** 2, squared),
    ):
        expected = raw / np.array(means_by_class(raw, labels))[labels]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_array_equal(instance.column("oof_index").shape, (instance.n_rows, N_CLASSES))


def test_unreadable_images_weigh_nothing(web, tmp_path):
    broken = tmp_path / "web"
    write_web(broken, 2)
    lines = (broken / "info/train_filelist_google.txt").read_text().splitlines()
    bad = lines[1].split()[0]
    (broken / bad).write_bytes(b"no image")
    table = columns_after(recipe_of(broken, tmp_path, {"method": "instance"}))
    row = table.strings("path", np.arange(table.n_rows)).index(bad)
    assert table.column("instance_weight")[row] == 0
    assert table.column("suggested")[row] == -1
    others = np.arange(table.n_rows) != row
    means = means_by_class(table.column("instance_weight")[others], table.column("label")[others])
    np.testing.assert_allclose(means, 1, rtol=1e-5)
    with pytest.raises(InputError, match="at most 0 unreadable images are accepted"):
        columns_after(recipe_of(broken, tmp_path, {"method": "instance"}, "data.max_bad=0", "name=strict"))


def test_a_class_of_which_no_image_can_be_read_stops_nothing(web, tmp_path):
    broken = tmp_path / "web"
    n_rows = write_web(broken, 2)
    for source in ("google", "flickr"):
        for line in (broken / f"info/train_filelist_{source}.txt").read_text().splitlines():
            path, label = line.split()
            if label == "1":
                (broken / path).write_bytes(b"no image")
    table = columns_after(
        recipe_of(
            broken,
            tmp_path,
            {"method": "instance"},
            f"data.max_bad={n_rows}",
            sampling_weight=["instance_weight"],
            balance=1.0,
        )
    )
    labels = table.column("label")
    np.testing.assert_array_equal(table.column("instance_weight")[labels == 1], 1)
    np.testing.assert_allclose(table.column("instance_weight")[labels == 0].mean(), 1, rtol=1e-5)
    assert (table.column("suggested")[labels == 1] == -1).all()


@pytest.mark.parametrize("queries", [True, False])
def test_the_relevance_model_reads_queries_and_class_texts_where_they_have_none(web, instance, tmp_path, queries):
    own = web
    if not queries:
        own = tmp_path / "web"
        write_web(own, 2)
        (own / "info/queries.txt").unlink()
    ranks = {"method": "instance", "relevance": "ranks", "model_term": 1.0}
    table = columns_after(recipe_of(own, tmp_path, ranks))
    labels = table.column("label")
    np.testing.assert_allclose(means_by_class(table.column("instance_weight"), labels), 1, rtol=1e-5)
    np.testing.assert_allclose(means_by_class(table.column("relevance"), labels), 0.5, atol=1e-6)
    assert (table.column("relevance") != instance.column("relevance")).any()


def test_heads_and_votes_are_those_of_label_quality(web, instance, tmp_path):
    """Without texts and ranks a stage with `votes` knows what ``label_quality`` knows of the same features."""
    votes = {"text": 0, "rank_bins": 0, "votes": True, "shrinkage": "auto"}
    table = columns_after(
        recipe_of(
            web,
            tmp_path,
            {"method": "instance", "scale": "probability", "power": 0.5, "evidence": votes},
            sampling_weight=["instance_weight", "in_classes"],
            measure={"keep": True},
        )
    )
    labels = table.column("label")
    features = Measurement.open(tmp_path / "r/measure/next").features
    asked = label_quality(features, labels, N_CLASSES, folds=5, power=0.5)
    for name in ("relevance", "in_classes", "suggested"):
        np.testing.assert_array_equal(table.column(name), asked[name])
    np.testing.assert_allclose(table.column("suggested_prob"), asked["suggested_prob"], atol=1e-3)  # float16
    raw = np.sqrt(np.maximum(asked["relevance"], 0.02))
    expected = raw / np.array(means_by_class(raw, labels))[labels]
    np.testing.assert_allclose(table.column("instance_weight"), expected, rtol=1e-4)
    assert "in_classes" not in instance.columns

    label = recipe_of(
        web, tmp_path, {"method": "label", "evidence": votes}, "name=l", targets="label", measure={"keep": True}
    )
    found = columns_after(label)
    np.testing.assert_array_equal(found.column("keep"), asked["relevance"])
    inside = np.maximum(asked["in_classes"], 0.02)
    expected = inside / np.array(means_by_class(inside, labels))[labels]
    np.testing.assert_allclose(found.column("label_weight"), expected, rtol=1e-4)


def test_votes_are_joined_with_texts_and_ranks(web, instance, tmp_path):
    for reweight in ({"method": "instance"}, {"method": "instance", "relevance": "ranks"}, {"method": "cluster"}):
        name = f"{reweight['method']}_{len(reweight)}"
        table = columns_after(recipe_of(web, tmp_path, {**reweight, "evidence": {"votes": True}}, f"name={name}"))
        column = "relevance" if reweight["method"] == "instance" else "cluster_weight"
        values = table.column(column)
        assert np.isfinite(values).all() and (values >= 0).all() and np.ptp(values) > 0


def test_several_views_the_maps_in_front_and_weaker_votes(web, instance, tmp_path):
    alone = {"text": 0, "rank_bins": 0, "votes": True, "vote_power": 0.25}
    reweight = {"method": "instance", "scale": "rank_of_all", "evidence": alone}
    measure = {"views": 2, "front": True, "keep": True}
    recipe = recipe_of(web, tmp_path, reweight, sampling_weight=["instance_weight"], measure=measure)
    table = columns_after(recipe)
    labels, relevance = table.column("label"), table.column("relevance")
    measured = Measurement.open(tmp_path / "r/measure/next")
    assert measured.features.shape == (len(labels), 128 + 4 * 64)
    passes = [int(made.describe("instance")["passes"]) for made in (instance, table)]
    assert passes == [len(labels), 2 * len(labels)]
    found = heads_and_votes(measured.features, labels, N_CLASSES, Settings(k=N_CLASSES), Known(), 0.25)
    np.testing.assert_array_equal(relevance, found.relevance)
    raw = np.maximum((rankdata(relevance) - 0.5) / len(labels), 0.02)
    expected = raw / np.array(means_by_class(raw, labels))[labels]
    np.testing.assert_allclose(table.column("instance_weight"), expected, rtol=1e-5)
    assert [step.action for step in plan_recipe(recipe)] == ["keep", "keep"]
    for key, other in (("views", 3), ("front", False)):
        changed = recipe_of(
            web, tmp_path, reweight, sampling_weight=["instance_weight"], measure={**measure, key: other}
        )
        assert [step.action for step in plan_recipe(changed)] == ["keep", "again"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("measure.views=11", "measure.views: found 11; accepted: 1 to 10"),
        (
            "measure.views=6 transform.flip=false",
            "measure.views: found 6; accepted: 1 to 5, as transform.flip is false",
        ),
        ("reweight.evidence.vote_power=0.5", "vote_power: found 0.5; accepted: null, as votes is false"),
        ("reweight.evidence.vote_power=3 reweight.evidence.votes=true", "vote_power: found 3.0; accepted: 0 to 2"),
        ("train=classifier measure.views=2", "measure.views: found 2; accepted: 1, as the features that are kept"),
        ("train=classifier measure.front=true", "measure.front: found True; accepted: false, as the features"),
    ],
)
def test_what_cannot_be_measured_is_refused(web, tmp_path, override, message):
    words = [word if word.startswith("transform") else f"stages.next.{word}" for word in override.split()]
    with pytest.raises(InputError, match=message):
        recipe_of(web, tmp_path, {"method": "instance"}, *words)


@pytest.mark.parametrize("weights", [["keep"], ["keep", "label_weight"]])
def test_all_that_a_label_stage_just_made_may_sample(web, tmp_path, weights):
    table = columns_after(
        recipe_of(
            web, tmp_path, {"method": "label"}, targets="label", sampling_weight=weights, loss_weight=["target_weight"]
        )
    )
    assert (table.column("target_weight") > 0).all()
    with pytest.raises(InputError, match=r"sampling_weight: found 'target_weight'; accepted: a loss_weight"):
        recipe_of(web, tmp_path, {"method": "label"}, sampling_weight=["target_weight"])


def test_measurements_are_removed_unless_kept_and_then_serve_other_settings(web, tmp_path):
    columns_after(recipe_of(web, tmp_path, {"method": "cluster"}))
    assert not (tmp_path / "r/measure").exists()
    kept = {"keep": True, "top_k": 2}
    columns_after(recipe_of(web, tmp_path, {"method": "cluster", "power": 2}, measure=kept))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "r/measure/next").glob("shard-*/*")}
    columns_after(recipe_of(web, tmp_path, {"method": "cluster", "power": 3}, measure=kept))
    assert before and before == {file: file.stat().st_mtime_ns for file in before}


def test_columns_are_computed_again_only_when_they_would_differ(web, tmp_path):
    reweight = {"method": "cluster", "rows_per_cluster": 4}
    file = tmp_path / "r/table/cluster.arrow"
    columns_after(recipe_of(web, tmp_path, reweight))
    before = file.stat().st_mtime_ns
    columns_after(recipe_of(web, tmp_path, reweight, "stages.next.schedule.lr=0.01"))
    columns_after(recipe_of(web, tmp_path, {**reweight, "jobs": 2}))
    assert file.stat().st_mtime_ns == before
    table = columns_after(recipe_of(web, tmp_path, {**reweight, "power": 3}))
    assert file.stat().st_mtime_ns > before
    found = table.describe("cluster")
    assert (found["stage"], found["passes"]) == ("next", str(table.n_rows))
    assert found["checkpoint"].startswith("stage class ")


def test_targets_follow_rho(web, tmp_path):
    given = columns_after(recipe_of(web, tmp_path, {"method": "label", "rho": 0}, targets="label"))
    labels = given.column("label")
    np.testing.assert_array_equal(given.column("topk_index")[:, 0], labels)
    np.testing.assert_array_equal(given.column("topk_prob")[:, 0], 1)
    np.testing.assert_array_equal(given.column("keep"), 1)
    moved = columns_after(
        recipe_of(
            web,
            tmp_path,
            {"method": "label", "rho": "inf", "certainty": 2, "teacher": "network", "similarity": 0.3},
            "name=moved",
            targets="label",
            sampling_weight=["label_weight"],
            loss_weight=["target_weight"],
            balance=1.0,
        )
    )
    assert (moved.column("topk_index")[:, 0] != labels).any()
    np.testing.assert_allclose(moved.column("topk_prob").astype(np.float64).sum(1), 1, atol=2e-3)
    np.testing.assert_allclose(means_by_class(moved.column("label_weight"), labels), 1, rtol=1e-5)


def test_what_a_stage_cannot_measure_with_is_refused_before_anything_is_trained(web, tmp_path):
    recipe = recipe_of(web, tmp_path, {"method": "cluster"})
    first = dataclasses.replace(recipe, stages=recipe.stages[1:])
    vectors = recipe_of(web, tmp_path, {"method": "label", "evidence": {"word_vectors": "/nowhere.txt"}})
    uncut = recipe_of(web, tmp_path, {"method": "cluster"}, "model.name=DenseNet121", measure={"front": True})
    with pytest.raises(InputError, match=r"next\.measure\.front: found true, but network DenseNet121 has no `front`"):
        run_recipe(uncut, lambda: models.build("DenseNet121", N_CLASSES))
    nothing = r"stages\.next\.measure\.network: found 'previous', but there is no earlier stage"
    for refused, message in ((first, nothing), (vectors, r"/nowhere\.txt")):
        with pytest.raises(InputError, match=message):
            run_recipe(refused, lambda: models.build("ResNet8_small32", N_CLASSES))
    assert not list((tmp_path / "r").glob("[cn]*"))


def test_changed_queries_are_noticed(web, tmp_path):
    own = tmp_path / "web"
    write_web(own, 2)
    recipe = recipe_of(own, tmp_path, {"method": "instance"}, sampling_weight=["instance_weight"])
    columns_after(recipe)
    file = own / "info/queries.txt"
    file.write_text(file.read_text() + "\n")
    assert [step.action for step in plan_recipe(recipe)] == ["keep", "keep"]  # the same words
    lines = file.read_text().split("\n")
    file.write_text("\n".join(["another thing", *lines[1:]]))
    (_, step) = plan_recipe(recipe)
    assert step.action == "again"
    assert "column instance_weight, which it trains with, would differ" in step.why


def test_word_vectors_serve_as_texts(web, instance, tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("one 1 0 0\ntwo 0 1 0\nthree 0 0 1\n")
    settings = {"method": "instance", "evidence": {"word_vectors": str(file), "least_cosine": 0.3}}
    table = columns_after(recipe_of(web, tmp_path, settings))
    same = table.column("suggested") == instance.column("suggested")
    assert same.mean() > 0.8  # the same words name the same classes
