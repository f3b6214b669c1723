"""train.py, infer.py and eval.py on a folder of everything that the web has.

Each image is accounted for, and the results are the same with and without worker processes.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import eval as evaluation
import infer
import train
from tests.helpers.hostile_files import UNLISTABLE, not_images, odd_but_good, write, write_what_has_no_bytes
from tests.helpers.predict import N_CLASSES, Toys
from urnet.core import cli
from urnet.training.log import one_line

WORKERS, BATCH = (0, 2), 32


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """root/train with three classes, the first of which holds everything; and the names of its bad files."""
    root = tmp_path_factory.mktemp("web")
    toys = Toys(root / "toys")
    odd, bad = odd_but_good(), not_images()
    write(root / "train/odd", {**odd, **bad})
    unreadable = {*bad, *write_what_has_no_bytes(root / "train/odd")}
    plain = [(toys.images / name).read_bytes() for name in toys.names]
    rest = -(len(odd) + len(unreadable) + len(plain)) % BATCH  # so that an epoch's batches hold all rows
    for place, n in (("train/b", len(plain)), ("train/c", BATCH + rest), ("val/odd", 5), ("val/b", 5)):
        write(root / place, {f"{i}.png": plain[i % len(plain)] for i in range(n)})
    return root, toys, sorted(odd), sorted(unreadable)


def test_training_gives_every_bad_row_weight_0_and_names_it(web, tmp_path, capsys):
    root, _, _, bad = web
    weights = []
    for workers in WORKERS:
        recipe = {
            "name": f"w{workers}",
            "output": str(tmp_path),
            "model": {"name": "ResNet8_small32"},
            "data": {
                "root": str(root / "train"),
                "val_root": str(root / "val"),
                "format": "folder",
                "n_classes": 3,
                "max_bad": len(bad),
                "workers": workers,
            },
            "transform": {"size": 16},
            "stages": [{"name": "plain", "duration": "1 epochs", "batch_size": BATCH}],
        }
        (tmp_path / "web.yaml").write_text(yaml.safe_dump(recipe))
        assert cli.run(train.main, ["-c", str(tmp_path / "web.yaml")]) == 0, capsys.readouterr().err
        err, home = capsys.readouterr().err, tmp_path / f"w{workers}/plain"
        listed = [line.split("\t") for line in (home / "unreadable.txt").read_text().splitlines()]
        expected = [one_line(f"{root}/train/odd/{name}") for name in bad]
        assert sorted(path for _, path, _ in listed) == sorted(expected)
        assert all(why for _, _, why in listed)
        log = (home / "log.txt").read_text()
        for _, path, why in listed:
            assert f"unreadable, weight 0: {path}: {why} (row " in log
            assert f"unreadable, weight 0: {path}: {why} (row " in err
        assert log.count("unreadable, weight 0: ") == len(bad)
        weights.append((home / "final/model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    over = ["-c", str(tmp_path / "web.yaml"), "-o", "name=over", "-o", f"data.max_bad={len(bad) - 1}"]
    assert cli.run(train.main, over) == 2
    assert f"data.max_bad accepts {len(bad) - 1}" in capsys.readouterr().err


def test_infer_answers_every_good_image_and_marks_every_bad_one(web, tmp_path, capsys):
    root, toys, odd, bad = web
    images, rows = root / "train/odd", []
    flags = {"img_path": images, "img_list": None, "max_bad": len(bad)}
    for workers in WORKERS:
        file = tmp_path / f"{workers}.jsonl"
        assert cli.run(infer.main, toys.argv(**flags, output=file, workers=workers)) == 0
        out, err = capsys.readouterr()
        lines = [line for line in out.splitlines() if line.startswith("Test-")]
        assert len(lines) == len(odd) + len(bad)
        assert f"{len(lines)} images in " in err and f", {len(bad)} unreadable;" in err
        rows.append([json.loads(line) for line in file.read_text().split("\n") if line])
        for line, row in zip(lines, rows[-1], strict=True):
            assert line.endswith("[nan], class []") == (row["path"] in bad) == bool(row["error"])
    assert rows[0] == rows[1]
    assert [row["path"] for row in rows[0]] == sorted([*odd, *bad])
    assert_no_swap([row for row in rows[0] if row["path"] in odd], web, tmp_path, capsys)
    assert cli.run(infer.main, toys.argv(**{**flags, "max_bad": len(bad) - 1})) == 2
    assert f"at most {len(bad) - 1} unreadable images are accepted" in capsys.readouterr().err


def assert_no_swap(rows, web, tmp_path, capsys) -> None:
    """The answers are those that each image gets among good and plainly named ones only."""
    toys, contents = web[1], odd_but_good()
    write(tmp_path / "good", {f"{i:03}.jpg": contents[row["path"]] for i, row in enumerate(rows)})
    flags = {"img_path": tmp_path / "good", "img_list": None, "output": tmp_path / "good.jsonl"}
    assert cli.run(infer.main, toys.argv(**flags)) == 0
    alone = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    assert [row["classes"] for row in rows] == [row["classes"] for row in alone]
    scores = [np.array([row["scores"] for row in some]) for some in (rows, alone)]
    assert np.allclose(*scores, atol=1e-5)
    assert len(np.unique(scores[0].round(4))) > len(rows) / 2  # a swap would show
    capsys.readouterr()


def test_eval_counts_the_good_ones_and_says_how_many_were_left_out(web, tmp_path, capsys):
    root, toys, odd, bad = web
    listable = [name for name in odd + bad if name not in UNLISTABLE]
    assert len(listable) == len(odd) + len(bad) - len(UNLISTABLE)
    (tmp_path / "list.txt").write_text(
        "".join(f"{name} {i % N_CLASSES}\n" for i, name in enumerate(listable)), encoding="utf-8", newline=""
    )
    flags = {"img_path": root / "train/odd", "img_list": tmp_path / "list.txt", "max_bad": len(bad)}
    answers = []
    for workers in WORKERS:
        assert cli.run(evaluation.main, toys.argv(**flags, workers=workers)) == 0
        out, err = capsys.readouterr()
        answers.append(out.splitlines()[-4:])
        good = len(odd) - len(UNLISTABLE)
        assert f"images: {good} measured, {len(bad)} unreadable" in out
        assert f", {len(bad)} unreadable;" in err
        assert re.fullmatch(r"top1:\d\.\d{4} top5:\d\.\d{4}", answers[-1][-1])
    assert answers[0] == answers[1]
    assert cli.run(evaluation.main, toys.argv(**{**flags, "max_bad": len(bad) - 1})) == 2
    err = capsys.readouterr().err
    named = Path(re.search(r"error: (.*): is not a readable image", err)[1]).name
    assert named in bad


def test_one_image_whose_name_is_not_utf8_is_refused_in_one_line(web, tmp_path, capsys):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    try:
        (tmp_path / name).write_bytes(odd_but_good()["exif 1.jpg"])
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    code = cli.run(infer.main, web[1].argv(img_path=tmp_path / name, img_list=None, max_bad=1))
    out, err = capsys.readouterr()
    assert code == 2
    assert err.startswith("error: ") and err.endswith("': the file's name is not UTF-8; rename it\n")
    assert r"caf\udce9.jpg" in err and out == ""
    cli.print_arguments(argparse.Namespace(img_path=name))
    assert r"img_path : caf\udce9.jpg" in capsys.readouterr().out
