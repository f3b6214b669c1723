"""train.py on one tree without a word about classes or validation, and on a part of the classes."""

import shutil

import pytest
import yaml

from tests.helpers.tiny_training import write_images, write_recipe
from urnet.checkpoints.checkpoint import describe
from urnet.config.recipe import recipe_hash
from urnet.pipeline.recipes import load_recipe


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The images in folders of classes 0, 1 and 2, and a recipe that says no more than where they are."""
    folder = tmp_path_factory.mktemp("one")
    write_images(folder)
    for line in (folder / "train.txt").read_text().splitlines():
        path, label = line.split()
        (folder / "mine" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / path, folder / "mine" / label)
    recipe = write_recipe(folder, duration="4 steps", eval_every="4 steps", balance=0, ema=None)
    known = yaml.safe_load(recipe.read_text())
    known["data"] = {"format": "folder", "root": str(folder / "mine"), "val_split": 0.3}
    recipe.write_text(yaml.safe_dump(known))
    return recipe


def finished(done):
    return done.returncode == 0 and "finished already" in done.stdout + done.stderr


def test_counted_split_and_finished(tree, call):
    plan = call("-c", tree, "--dry-run")
    assert (plan.returncode, plan.stdout) == (0, "stage class run: not trained yet\n"), plan.stderr
    assert not (tree.parent / "output").exists()
    done = call("-c", tree)
    assert done.returncode == 0, done.stderr
    held = "of 61 images are held back for validation"
    assert held in done.stderr and held in plan.stderr
    assert finished(call("-c", tree, "--resume"))
    assert finished(call("-c", tree, "-o", "data.n_classes=3"))
    assert finished(call("-c", tree, "--dry-run"))
    info = describe(tree.parent / "output/tiny/class/final")
    assert (info.recipe.data.n_classes, info.class_names) == (3, ["0", "1", "2"])
    given = load_recipe(tree, ["data.n_classes=3"])
    assert recipe_hash(load_recipe(tree)) == recipe_hash(given) == recipe_hash(info.recipe)
    assert recipe_hash(given) != recipe_hash(load_recipe(tree, ["data.val_split=0.2"]))
    other = call("-c", tree, "-o", "data.val_split=0.2")
    assert other.returncode == 2 and "data.val_split was 0.3, now it is 0.2; --replace builds" in other.stderr


def test_a_part_of_the_classes(tree, call):
    some = tree.parent / "some.txt"
    some.write_text("2\n0\n")
    override = ["-o", f"data.classes={some}", "-o", "name=part"]
    done = call("-c", tree, *override)
    assert done.returncode == 0, done.stderr
    assert "data.classes: 2 of 3 classes train, 0 '2', 1 '0'; 20 images of the others do not" in done.stderr
    info = describe(tree.parent / "output/part/class/final")
    assert (info.recipe.data.n_classes, info.recipe.data.classes, info.class_names) == (2, ("2", "0"), ["2", "0"])
    assert finished(call("-c", tree, "-o", "data.classes=[2, 0]", "-o", "name=part"))
    some.write_text("0\n2\n")  # the file's words are the setting, not its name
    changed = call("-c", tree, *override)
    assert changed.returncode == 2 and 'data.classes was ["2", "0"], now it is ["0", "2"]' in changed.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.val_root={0}", "data.val_split: found 0.3; accepted: null, as val_root is "),
        ("data.val_split=null", "data.val_root: found none; "),
        ("data.val_split=1", "data.val_split: found 1.0; accepted: 0 < val_split < 1"),
        ("data.n_classes=4", "has 3 sub-folders (0, 1, 2), but data.n_classes is 4; one sub-folder per class"),
        ("data.n_classes=0", "data.n_classes: found 0; accepted: 2 or more, or null"),
        ("data.classes=[0, 3]", "data.classes: found 3; the classes are 0 to 2"),
        ("data.classes=[0, 0]", "data.classes: found '0'; class 0 is already chosen"),
        ("data.classes=nowhere.txt", "data.classes: found 'nowhere.txt', which is not a file"),
        ("data.root={0}/mine/0", "mine/0 has 0 sub-folders; two or more are needed, one per class"),
        ("data.classes=[yes, no]", "data.classes.0: str is needed, found True (put text in quotes that YAML"),
    ],
)
def test_what_is_refused_in_advance_too(tree, call, override, message):
    for more in ([], ["--dry-run"]):
        done = call("-c", tree, "-o", override.format(tree.parent), "-o", "name=other", *more)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tree.parent / "output/other").exists()
