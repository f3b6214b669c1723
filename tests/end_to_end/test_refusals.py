"""A call that is refused: --dry-run says the same in advance, and neither leaves anything behind."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import models
from tests.helpers.tiny_training import write_images, write_recipe
from urnet.checkpoints import checkpoint


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Images, their lists, the same images in folders of classes, weights, and what is wrong with other files."""
    folder = tmp_path_factory.mktemp("tree")
    write_images(folder)
    for part in ("train", "val"):
        for line in (folder / f"{part}.txt").read_text().splitlines():
            path, label = line.split()
            (folder / f"folders/{part}/class{label}").mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / path, folder / f"folders/{part}/class{label}")
    (folder / "names10.txt").write_text("".join(f"name{i}\n" for i in range(10)))
    (folder / "label9.txt").write_text("train/000.png 9\n")
    (folder / "nothing.txt").write_text("\n")
    (folder / "latin.txt").write_bytes(b"train/caf\xe9.png 0\n")
    (folder / "moved.txt").write_text("".join(f"old/train/{i:03}.png {i % 3}\n" for i in range(9)))
    (folder / "out.txt").write_text("../train/000.png 0\n")
    (folder / "web/info").mkdir(parents=True)
    (folder / "web/val").mkdir()
    (folder / "web/info/train_filelist_google.txt").write_text("a/1.jpg 0\n")
    (folder / "web/info/val_filelist.txt").write_text("1.jpg 0\n")
    (folder / "web/info/synsets.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    (folder / "file").write_text("")
    for n_classes in (3, 4):
        weights = {
            name: value.numpy() for name, value in models.build("ResNeXt_small32", n_classes).state_dict().items()
        }
        checkpoint.save(folder / f"of{n_classes}", weights=weights, state={})
    write_recipe(folder)
    return folder


def names_below(folder: Path) -> list[tuple[str, int]]:
    """Everything there, and when each file was written."""
    return sorted(
        (str(path.relative_to(folder)), 0 if path.is_dir() else path.stat().st_mtime_ns) for path in folder.rglob("*")
    )


REFUSED = {
    "names of more classes": ("data.class_names={tree}/names10.txt", "has 10 class names, but n_classes is 3"),
    "no such names": ("data.class_names={tree}/no.txt", "no.txt: cannot be read"),
    "an unknown label": ("data.train_list={tree}/label9.txt", "label9.txt:1: label 9"),
    "an empty list": ("data.train_list={tree}/nothing.txt", "lists no training image"),
    "no such list": ("data.train_list={tree}/no.txt", "no.txt: cannot be read"),
    "a list in another encoding": ("data.train_list={tree}/latin.txt", "latin.txt:1: found the byte 0xe9"),
    "a path that leads out": ("data.train_list={tree}/out.txt", "out.txt:1"),
    "a list of another folder": ("data.train_list={tree}/moved.txt", "; without old/ it is: paths are relative to"),
    "a validation list of another": ("data.val_list={tree}/moved.txt", "; without old/ it is: paths are relative to"),
    "no such validation list": ("data.val_list={tree}/no.txt", "no.txt: cannot be read"),
    "an unknown label to validate": ("data.val_list={tree}/label9.txt", "label9.txt:1: label 9"),
    "no such root": ("data.root={tree}/no", "/no is not a folder"),
    "no such validation root": ("data.val_root={tree}/no", "/no: is not a folder"),
    "less than a step": ("stages.class.duration=0.01 epochs", "duration: 0.01 epochs is less than one step"),
    "a long warm-up": ("stages.class.schedule.warmup=90 epochs", "schedule.warmup: 90 epochs"),
    "weights of another size": ("stages.class.start={tree}/of4", "has 4 classes"),
    "weights that are none": ("stages.class.start={tree}/names10.txt", "names10.txt: is not a file of weights"),
    "no such weights": ("stages.class.start={tree}/no", "/no: does not exist"),
    "unfit weights to measure with": (
        "stages.class={{reweight: {{method: label}}, measure: {{network: {tree}/of4}}, loss_weight: []}}",
        "has 4 classes",
    ),
    "no texts to read": (
        "stages.class={{reweight: {{method: label, evidence: {{word_vectors: {tree}/no}}}}, "
        "measure: {{network: {tree}/of3}}}}",
        "word_vectors: ",
    ),
    "bags that do not divide": ("stages.class.bags={{size: 3}}", "bags.size: found 3"),
    "an unknown column": ("stages.class.loss_weight=[weight]", "the table has no column 'weight'"),
    "an unknown network": ("model.name=X", "model.name: 'X' is not known"),
    "a key that was replaced": ("model.channels_last=true", "model.channels_last: found true"),
    "a device that is not there": ("device=gpu", "device: found 'gpu'"),
    "an unknown key": ("stages.class.rate=1", "unknown key"),
    "an output that is a file": ("output={tree}/file", "file/tiny: cannot be written"),
    "an output that may not be": ("output=/proc/nowhere", "/proc/nowhere/tiny: cannot be written"),
    "a table that is a file": ("data.table={tree}/file", "file: cannot be written"),
    "folders of more classes": (
        "data={{format: folder, root: {tree}/folders/train, val_root: {tree}/folders/val, n_classes: 4}}",
        "3 sub-folders",
    ),
    "no folders": ("data={{format: folder, root: {tree}/web, val_root: {tree}/web}}", "web: has 2 sub-folders"),
    "no lists": ("data={{format: webvision2, root: {tree}/folders}}", ""),
    "a synset missing": ("data={{format: webvision2, root: {tree}/web}}", "has 2 class names, but n_classes is 3"),
}


def overrides(text):
    """``key={a: 1, b: {c: 2}}`` as one override a key, so that what is not named stays."""
    key, _, value = text.partition("=")
    if not value.startswith("{"):
        return ["-o", text]
    tree = {"train_list": None, "val_list": None} if key == "data" else {}
    tree.update(yaml.safe_load(value))
    return [word for name, own in tree.items() for word in ("-o", f"{key}.{name}={json.dumps(own)}")]


@pytest.mark.parametrize("fault", REFUSED)
def test_a_dry_run_says_what_the_real_call_says_and_neither_leaves_a_trace(call, tree, tmp_path, fault):
    from urnet.runtime.precision import has_gpu

    if (has_gpu() and "GPU" in fault) or "device" in fault:
        pytest.skip("this machine has a GPU")
    override, said = REFUSED[fault]
    out = ["-o", f"output={tmp_path}/deep/out"]
    argv = ["-c", tree / "tiny.yaml", *out, *overrides(override.format(tree=tree))]
    before = [names_below(folder) for folder in (tree, tmp_path)]
    told, refused = call(*argv, "--dry-run"), call(*argv)
    assert (told.returncode, refused.returncode) == (2, 2), refused.stderr
    assert said in refused.stderr.splitlines()[-1]
    assert told.stderr.splitlines()[-1] == refused.stderr.splitlines()[-1]
    assert told.stdout == refused.stdout == ""
    assert [names_below(folder) for folder in (tree, tmp_path)] == before
