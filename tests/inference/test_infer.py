"""infer.py: the 2018 release's command and output, engines, files, preprocessing."""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import eval as evaluation
import infer
from tests.helpers.picture_files import encode, picture, with_orientation
from tests.helpers.predict import (
    N_CLASSES,
    NAMES,
    RELEASE,
    TRANSFORM,
    expected_probabilities,
    make_network,
    numbers,
    run,
    save_fluid,
)
from urnet.evaluation.prediction_reader import number_of_classes
from urnet.inference import cli_job
from urnet.runtime.precision import has_gpu

ROOT = Path(__file__).parents[2]


@pytest.fixture
def predict(toys, capsys):
    """``predict(FLAG=VALUE, …)``: infer.py's block of arguments, result lines and stderr."""

    def call(*more, **changed):
        code, block, lines, err = run(capsys, infer.main, toys.argv(*more, **changed))
        assert code == 0, err
        return block, lines, err

    return call


def test_predictions_are_those_worked_out_plainly(toys, predict):
    block, lines, err = predict()
    classes, scores = numbers(lines)
    np.testing.assert_array_equal(classes[:, 0], toys.labels)
    np.testing.assert_allclose(scores[:, 0], toys.expected.max(axis=1), atol=2e-5)
    assert len(set(toys.labels.tolist())) >= 4  # the images are not all of one class
    assert block[0] == "-------------  Configuration Arguments -------------"
    assert f"{'class_dim':>25} : {N_CLASSES}" in block
    assert f"{'image_shape':>25} : 3,32,32" in block
    assert [line.split(":")[0].strip() for line in block[1:-1]] == sorted(vars(infer.parser().parse_args([])))
    assert "11 images in" in err


def test_both_engines_worker_processes_and_topk(toys, predict):
    classes, scores = numbers(predict(engine="inference", topk=5, workers=2)[1])
    np.testing.assert_array_equal(classes, toys.ranking[:, :5])
    np.testing.assert_allclose(scores, np.take_along_axis(toys.expected, classes, 1), atol=2e-5)


def test_csv_and_json_lines(toys, predict, tmp_path):
    names = tmp_path / "synsets.txt"
    names.write_text("".join(f"n{c:08d} other {c}, name\n" for c in range(N_CLASSES)))
    predict(output=tmp_path / "new" / "a.csv", topk=2)
    predict(output=tmp_path / "a.jsonl", topk=2, class_names=names)
    with (tmp_path / "new" / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    objects = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [item["path"] for item in objects] == toys.names
    for i, (row, item) in enumerate(zip(rows, objects, strict=True)):
        best = toys.ranking[i, :2].tolist()
        assert row["classes"] == f"{best[0]} {best[1]}"
        assert item["classes"] == best
        assert row["names"] == f"{NAMES[best[0]]}; {NAMES[best[1]]}"
        assert item["names"] == [f"other {c}, name" for c in best]
        np.testing.assert_allclose(item["scores"], toys.expected[i, best], atol=2e-5)
        assert [float(word) for word in row["scores"].split()] == item["scores"]
        assert row["error"] == item["error"] == ""
    predict("--excel", output=tmp_path / "b.csv", topk=2)
    assert (tmp_path / "b.csv").read_bytes() == b"\xef\xbb\xbf" + (tmp_path / "new" / "a.csv").read_bytes()
    predict(output=tmp_path / "a.arrow", topk=2)
    assert number_of_classes([tmp_path / "a.arrow"]) == N_CLASSES


@pytest.mark.parametrize("output", [None, "a.jsonl", "a.arrow"])
def test_excel_is_about_a_csv_file(toys, capsys, tmp_path, output):
    where = output and tmp_path / output
    code, _, lines, err = run(capsys, infer.main, toys.argv("--excel", output=where))
    assert (code, lines, list(tmp_path.iterdir())) == (2, [], [])
    assert err == "error: --excel only affects a CSV file; it needs --output FILE.csv\n"
    assert infer.parser().parse_args(["--e", "dygraph"]).engine == "dygraph"  # as before there was --excel


def test_images_without_a_list_and_one_image(toys, predict):
    order = sorted(range(len(toys.names)), key=lambda i: toys.names[i])
    np.testing.assert_array_equal(numbers(predict(img_list=None)[1])[0][:, 0], toys.labels[order])
    _, lines, _ = predict(img_list=None, img_path=toys.images / "some dir" / "3.png")
    np.testing.assert_array_equal(numbers(lines)[0], [[toys.labels[3]]])


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ({"resize": "straight"}, {"eval": "straight"}),
        ({"image_shape": "3,24,24"}, {"size": 24}),
        ({"resize_short_size": 50}, {"resize_short": 50}),
        ({"resize": 50}, {"resize_short": 50}),  # --resize was a prefix of --resize_short_size
        ({"image_shape": "3, 40, 40", "resize": "short", "resize_short_size": 48}, {"size": 40, "resize_short": 48}),
    ],
)
def test_flags_go_before_the_recipe(toys, predict, flags, changes):
    block, lines, _ = predict(**flags)
    expected = expected_probabilities(toys.network, toys.images, toys.names, dataclasses.replace(TRANSFORM, **changes))
    assert np.abs(expected.max(1) - toys.expected.max(1)).max() > 1e-3  # the flag makes a difference
    np.testing.assert_allclose(numbers(lines)[1][:, 0], expected.max(axis=1), atol=2e-5)
    assert f"{'resize_short_size':>25} : {changes.get('resize_short', TRANSFORM.resize_short)}" in block


def test_the_release_s_checkpoint_and_command(toys, capsys, tmp_path):
    """Its folder of variables, its flags; straight resize by default, its earlier one by flag."""
    name = "ResNeXt50_32x4d"
    network = make_network(toys.images, toys.names, RELEASE, name)
    folder = save_fluid(tmp_path / "ckpt", network)
    argv = f"--model {name} --pretrained {folder}/ --class_dim {N_CLASSES} --img_list {toys.list}".split()
    argv += f"--img_path {toys.images}/ --image_shape 3,32,32 --use_gpu True --engine dygraph".split()
    for resize, more in (("straight", []), ("short", ["--resize", "short"])):
        code, _, lines, err = run(capsys, infer.main, argv + more)
        assert code == 0
        assert err.count("note: computing on the CPU, as this Paddle") == (0 if has_gpu() else 1)
        expected = expected_probabilities(network, toys.images, toys.names, dataclasses.replace(RELEASE, eval=resize))
        classes, scores = numbers(lines)
        np.testing.assert_array_equal(classes[:, 0], expected.argmax(axis=1))
        np.testing.assert_allclose(scores[:, 0], expected.max(axis=1), atol=1e-4)


def test_unreadable_images_are_marked_up_to_max_bad(toys, predict, capsys, tmp_path):
    whole = (toys.images / "4.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-20])
    (tmp_path / "a.png").write_bytes(whole)
    (tmp_path / "list.txt").write_text("a.png\nb.png\ngone.png\na.png\n")
    flags = {"img_path": tmp_path, "img_list": tmp_path / "list.txt", "output": tmp_path / "out.jsonl"}
    _, lines, err = predict(**flags, max_bad=2)
    assert lines[1] == "Test-1-score: [nan], class []"
    assert f"class [{toys.labels[4]}]" in lines[3]
    before = (tmp_path / "out.jsonl").read_text()
    rows = [json.loads(line) for line in before.splitlines()]
    assert [len(row["classes"]) for row in rows] == [1, 0, 0, 1]
    assert "cut off" in rows[1]["error"]
    assert rows[2]["error"].startswith("cannot be read")
    assert "2 unreadable" in err
    code, _, _, err = run(capsys, infer.main, toys.argv(**flags, max_bad=1))
    assert code == 2
    assert re.fullmatch(r"error: \S+/b\.png: .*cut off \(and 1 more\); at most 1 unreadable images .*\n", err)
    assert (tmp_path / "out.jsonl").read_text() == before  # the failed run wrote nothing
    assert "(--max_bad N leaves out up to N)" in err
    (tmp_path / "list.txt").write_text("b.png\ngone.png\n")
    code, _, _, err = run(capsys, infer.main, toys.argv(**flags, max_bad=2))
    assert code == 2
    assert re.search(r"error: none of the 2 images can be read; the first: \S+/b\.png: .*cut off\n$", err)
    assert (tmp_path / "out.jsonl").read_text() == before


def test_an_inference_model_is_written_and_checked(toys, predict, capsys, tmp_path, monkeypatch):
    """On the CPU, where it will run, also where there is a GPU."""
    monkeypatch.setattr(cli_job, "_device", lambda use_gpu: "gpu")
    folder = tmp_path / "served"
    flags = {"save_inference": True, "inference_dir": folder, "img_path": None, "img_list": None}
    _, lines, _ = predict(**flags)
    assert lines[0] == "model:  ResNeXt_small32  is already saved"
    assert re.fullmatch(r".*served: largest difference from the live network \d\S*", lines[1])
    signature = json.loads((folder / "signature.json").read_text())
    assert signature["class_names"] == NAMES
    assert (signature["resize"], signature["resize_short_size"]) == ("short", 36)
    code, _, _, err = run(capsys, infer.main, toys.argv(**flags))
    assert code == 2
    assert "served: exists already" in err


def test_stdout_holds_results_only(toys, tmp_path):
    """A process of its own, with the engine whose C++ code writes to stdout; and bad input's exit code."""

    def call(**flags):
        command = [sys.executable, str(ROOT / "infer.py"), *toys.argv(**flags)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = call(engine="inference")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("Configuration Arguments -------------")
    np.testing.assert_array_equal(numbers(lines[-11:])[0][:, 0], toys.labels)
    assert len(lines) == len(vars(infer.parser().parse_args([]))) + 2 + 11
    note, rate = done.stderr.splitlines()  # and nothing of Paddle's own
    assert note == "note: stdout gives the numbers of the classes; --output FILE.csv also gives their names"
    assert re.fullmatch(r"11 images in .* engine inference", rate)
    failed = call(img_list="no.txt")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no.txt: cannot be read")


HELP = """
import contextlib, io, sys
import infer, eval
for program in (infer, eval):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        program.main(["--help"])
    assert "--img_path" in said.getvalue()
print(sorted({"paddle", "cv2", "pyarrow", "sklearn", "scipy", "visualdl", "safetensors"} & set(sys.modules)))
"""


def test_help_does_not_wait_for_heavy_imports():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_exif_orientation_is_honoured_as_the_release_s_reader_did(toys, predict, tmp_path):
    jpeg = encode(".jpg", picture(64, 64))
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.jpg").write_bytes(with_orientation(jpeg, 6))
    _, lines, _ = predict(img_path=tmp_path, img_list=None)
    expected = expected_probabilities(toys.network, tmp_path, ["a.jpg", "b.jpg"], TRANSFORM)  # cv2.imread turns it
    assert not np.array_equal(cv2.imread(str(tmp_path / "a.jpg")), cv2.imread(str(tmp_path / "b.jpg")))
    assert abs(expected[0].max() - expected[1].max()) > 1e-3
    np.testing.assert_allclose(numbers(lines)[1][:, 0], expected.max(axis=1), atol=2e-5)


def test_every_flag_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    for parser in (infer.parser(), evaluation.parser()):
        assert [name for name in vars(parser.parse_args([])) if f"`--{name}`" not in text] == []
