"""All five stages trained by several calls end with the bytes of one call."""

import json

import models
from tests.helpers.tiny_stages import SHORT
from tests.helpers.webvision import N_CLASSES, write_web
from urnet.pipeline.recipes import load_recipe
from urnet.pipeline.run import run_recipe

STAGE = {**SHORT, "checkpoint_every": "1 steps", "batch_size": 8, "balance": 1.0}
STAGES = [
    {**STAGE, "name": "class", "balance": 0.0, "reweight": {"method": "class_size"}, "loss_weight": ["class_weight"]},
    {**STAGE, "name": "cluster", "reweight": {"method": "cluster"}, "sampling_weight": ["cluster_weight"]},
    {**STAGE, "name": "instance", "reweight": {"method": "instance"}, "sampling_weight": ["instance_weight"]},
    {**STAGE, "name": "bag", "sampling_weight": ["relevance"], "bags": {"size": 2}},
    {
        **STAGE,
        "name": "label",
        "reweight": {"method": "label", "rho": "inf", "certainty": 1},
        "targets": "label",
        "sampling_weight": ["label_weight"],
        "loss_weight": ["target_weight"],
    },
]
FILES = [
    *(f"{stage['name']}/final/model.safetensors" for stage in STAGES),
    *(f"table/{name}.arrow" for name in ("base", "class", "cluster", "instance", "bag", "label")),
]


def train(tree, folder, **options):
    """Train the stages in this process; returns the run's folder."""
    path = folder / "five.yaml"
    path.write_text(json.dumps({**tree, "output": str(folder)}))
    run_recipe(load_recipe(path), lambda: models.build("ResNet8_small32", N_CLASSES), **options)
    return folder / "five"


def test_stage_by_stage_is_the_same_as_at_once(tmp_path, capsys):
    write_web(tmp_path / "web", 2)
    tree = {
        "name": "five",
        "stages": STAGES,
        "transform": {"size": 32},
        "data": {"root": str(tmp_path / "web"), "n_classes": N_CLASSES},
        "model": {"name": "ResNet8_small32"},
    }
    whole, part = tmp_path / "whole", tmp_path / "part"
    for folder in (whole, part):
        folder.mkdir()
    expected = train(tree, whole)
    for options in ({"until": "cluster"}, {"only": "instance"}, {}):
        capsys.readouterr()
        found = train(tree, part, **options)
    assert capsys.readouterr().err.count("finished already, kept") == 3
    for file in FILES:
        assert (found / file).read_bytes() == (expected / file).read_bytes(), file
    assert not (found / "measure").exists()
