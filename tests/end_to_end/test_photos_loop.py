"""From a folder of photographs to a service, as docs/photos.md: suspects, decisions, training, export, prediction.

Small pictures whose colour is their class, and a small network with random weights, which tell colours apart.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import infer
import models
import train
import urnet
from tests.helpers.judged_pictures import COLOURS, picture, read_rows, save_weights, write, write_tree
from tests.helpers.review import app_of, ask, review_of
from tools import export, suspects
from tools.service.client import ask_once, form, running
from urnet.core import cli
from urnet.data.table.table import Table

ROOT = Path(__file__).parents[2]
WRONG = {"red/mistaken 1.png": "blue", "red/mistaken 2.png": "green", "blue/mistaken.png": "red"}  # path -> its class
RECIPE = ROOT / "recipes/folder.yaml"
SMALL = ["model.name=ResNet8_small32", "transform.size=32", "transform.resize_short=36", "data.workers=0"]
SMALL += ["stages.*.duration=6 epochs", "stages.*.batch_size=16", "stages.*.eval_every=6 epochs"]
SMALL += ["stages.*.train=classifier", "data.features=suspects.features"]
OFF_TOPIC, COPY, BROKEN = "green/elsewhere.png", "green/copy.jpg", "blue/page.jpg"


def noise(seed: int) -> np.ndarray:
    """A picture of no class."""
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def photographs(root: Path) -> None:
    """``root``/train with planted faults, ``root``/val without."""
    write_tree(root / "train", each=16)
    for number, (path, name) in enumerate(WRONG.items()):
        write(root / "train" / path, picture(name, 50 + number))
    write(root / "train" / OFF_TOPIC, noise(1))
    write(root / "train" / COPY, cv2.resize(picture("green", 3), (48, 36)))
    (root / "train" / BROKEN).write_text("<html>not found</html>")
    for name in COLOURS:
        for i in range(6):
            write(root / "val" / name / f"{i}.png", picture(name, 100 + i))


def digest(folder: Path) -> dict[str, str]:
    """What is in a folder, path by path."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def decide(file: Path, root: Path) -> list[str]:
    """Decide the suspects on review's page as somebody who knows what they show; the paths in that order.

    And one that nobody suspects: such a small network does not see that it fits no class.
    """
    review = review_of(file, root)
    app, seen = app_of(review), []
    names = ask(app, "state").json["names"]
    for item in ask(app, "items?show=all&n=100").json["items"]:
        if not item["verdict"] and item["path"] != OFF_TOPIC:
            continue
        name = WRONG.get(item["path"], item["path"].partition("/")[0])
        shows = {OFF_TOPIC: -1, BROKEN: -2}.get(item["path"], names.index(name))
        body = {"rows": [item["row"]], "shows": shows, "was": [item["now"]], "show": "all"}
        answer = ask(app, "decide", {**body, "revision": len(seen)})
        assert answer.status == 200, answer.body
        seen.append(item["path"])
    review.close()
    return seen


def run(capfd, main, *arguments) -> tuple[list[str], list[str]]:
    """The lines of a command's stdout and stderr."""
    capfd.readouterr()
    code = cli.run(main, list(map(str, arguments)))
    out, err = capfd.readouterr()
    assert code == cli.DONE, err
    return out.splitlines(), err.splitlines()


def served(folder: Path, files: list[Path]) -> list[dict]:
    """What the service says of files, in their order, the first class each."""
    with running(folder) as service:
        status, body = ask_once(service.port, form([(file.name, file.read_bytes()) for file in files]), "?topk=1")
    assert status == 200, body
    return json.loads(body)["images"]


def test_from_a_folder_to_a_service(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    photos, new = Path("photos"), Path("new")
    photographs(photos)
    before = digest(photos)
    weights = save_weights(Path("toy"))

    # what is wrong
    place = ("photos/train", "--val", "photos/val")
    _, err = run(capfd, suspects.main, *place, "--weights", weights)
    assert err[-1].startswith("next: python tools/review.py suspects.csv --root photos/train --val photos/val")
    verdicts = {row["path"]: row["verdict"] for row in read_rows(Path("suspects.csv"))}
    assert {verdicts[path] for path in WRONG} == {"wrong label"}
    assert (verdicts[COPY], verdicts[BROKEN]) == ("near duplicate", "unreadable")

    # a person looks
    seen = decide(Path("suspects.csv"), photos / "train")
    assert {*WRONG, OFF_TOPIC} < set(seen)
    run(capfd, suspects.main, *place, "--weights", weights, "--decisions", "decisions.csv")
    after = {row["path"]: row for row in read_rows(Path("suspects.csv"))}
    assert all((after[path]["verdict"], after[path]["suggested"]) == ("fine", name) for path, name in WRONG.items())

    # the training
    keys = ["data.root=photos/train", "data.val_root=photos/val", "data.decisions=decisions.csv"]
    overrides = [word for key in [*keys, *SMALL] for word in ("-o", key)]
    out, err = run(capfd, train.main, "-c", RECIPE, "--init", weights, "--finetune", *overrides)
    assert [line.split()[3] for line in out if " last top1:" in line][-1] == "top1:1.0000", out
    assert err[-1] == "  python tools/export.py output/folder  # for tools/serve.py"
    table = Table.open(Path("output/folder/table"))
    rows = {"/".join(Path(path).parts[-2:]): row for row, path in enumerate(table.paths(range(table.n_rows)))}
    decided, label, given = (table.column(name) for name in ("decided", "label", "given"))
    names = sorted(COLOURS)
    for path, name in WRONG.items():
        row = rows[path]
        assert (decided[row], names[label[row]], names[given[row]]) == (1, name, path.partition("/")[0])
    assert decided[rows[OFF_TOPIC]] == 2 and decided[rows["red/00.png"]] == 0

    # the service
    for name in COLOURS:
        write(new / f"{name}.png", picture(name, 300))
    write(new / "noise.png", noise(7))
    files = sorted(new.iterdir())
    out, err = run(capfd, export.main, "output/folder")
    assert "next: python tools/serve.py output/folder/exported" in err[-1]
    shutil.move("output", "elsewhere")  # what was exported needs nothing of it
    exported = Path("elsewhere/folder/exported").rename("exported").absolute()
    said = served(exported, files)
    assert [entry["names"] for entry in said[:2] + said[3:]] == [["blue"], ["green"], ["red"]]
    fits = {file.name: entry["in_classes"] for file, entry in zip(files, said, strict=True)}
    assert fits["noise.png"] < 0.5 < sorted(fits.values())[-2]
    shutil.copy("new/noise.png", exported / "IMAGE.jpg")
    monkeypatch.chdir(exported)
    lines = (exported / "README.txt").read_text(encoding="utf-8").partition("Python, with")[2].splitlines()
    exec("\n".join(line[4:] for line in lines if line.startswith("    ")), {})
    assert "probably none of the classes" in capfd.readouterr().out
    monkeypatch.chdir(tmp_path)

    # the same from infer.py and from Python
    final = "elsewhere/folder"
    out, err = run(
        capfd, infer.main, "--pretrained_model", final, "--img_path", "new", "--output", "new.csv", "--use_gpu", "False"
    )
    rows = {row["path"]: row for row in read_rows(Path("new.csv"))}
    assert {path: row["names"].split(";")[0] for path, row in rows.items() if path != "noise.png"} == {
        f"{n}.png": n for n in COLOURS
    }
    assert {path: float(row["in_classes"]) for path, row in rows.items()} == pytest.approx(fits, abs=0.05)
    n = sum(fit < 0.5 for fit in fits.values())
    assert any(line.startswith(f"{n} of 4 images probably fit") for line in err), err
    top = urnet.load_predictor(final, build=models.build, engine="dygraph").top(files)
    assert top.in_classes == pytest.approx([fits[file.name] for file in files], abs=0.05)
    assert digest(photos) == before
