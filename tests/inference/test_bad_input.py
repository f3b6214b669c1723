"""What infer.py and eval.py cannot use: one line on stderr, exit code 2, and nothing is written."""

import re
import shutil

import numpy as np
import pytest

import eval as evaluation
import infer
from tests.helpers.predict import NAMES, run, weights_of
from urnet.checkpoints import safetensors_io

LISTS = {
    "empty": "\n \n",
    "missing": "0.png 1\ngone.png 2\nalso gone.png 2\n",
    "no label": "0.png 1\nsome dir/1.png\n",
    "beyond": "0.png 1\n2.png 7\n",
    "negative": "0.png -1\n",
    "class names": "one\ntwo\n",
}


@pytest.fixture(scope="module")
def bad(toys, tmp_path_factory):
    """Checkpoints, lists and images that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("bad")
    weights = weights_of(toys.network)
    safetensors_io.write_safetensors(folder / "bare.safetensors", weights)
    whole = (folder / "bare.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    del weights["fc.bias"]
    safetensors_io.write_safetensors(folder / "other.safetensors", {**weights, "head.bias": np.zeros(3, np.float32)})
    for name in ("empty", "pictures", "folder.csv"):
        (folder / name).mkdir()
    (folder / "pictures" / "bad.png").write_text("this is not a picture")
    shutil.copy(toys.images / "0.png", folder)
    for name in ("exported/signature.json", "run/class/best/model.safetensors", "lfs.pdparams"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1")
    for name, text in LISTS.items():
        (folder / f"{name}.txt").write_text(text)
    shutil.copytree(toys.checkpoint, folder / "names")
    (folder / "names" / "classes.txt").write_text("one\ntwo\n")
    (folder / "swapped.txt").write_text("".join(f"{6 - c}: {name}\n" for c, name in enumerate(NAMES)))
    return folder


BARE = {
    "pretrained_model": "BAD/bare.safetensors",
    "model": "ResNeXt_small32",
    "class_dim": 7,
    "image_shape": "3,32,32",
}
BOTH = [  # flags, what is said
    ({"pretrained_model": None}, r"--pretrained_model: found none"),
    ({"pretrained_model": "BAD/no"}, r"/no: does not exist"),
    ({**BARE, "pretrained_model": "BAD/empty"}, r"/empty"),
    ({**BARE, "pretrained_model": "BAD/cut.safetensors"}, r"cut\.safetensors"),
    ({**BARE, "pretrained_model": "BAD/other.safetensors"}, r"1 missing \(fc\.bias\); 1 unexpected \(head\.bias\)"),
    ({**BARE, "model": "ResNeXt50_32x4d"}, r"bare\.safetensors: does not fit the network"),
    ({**BARE, "class_dim": 9}, r"has 7 classes .* class_dim is 9"),
    ({**BARE, "model": "ResNext_small"}, r"--model: 'ResNext_small' is not known; nearest: ResNet8_small32, ResNeXt_s"),
    ({"model": "ResNeXt50_32x4d"}, r"--model is ResNeXt50_32x4d, but \S+ was trained with ResNeXt_sm"),
    ({"class_dim": 5000}, r"--class_dim is 5000, but \S+ was trained with 7"),
    ({"image_shape": "3,a,b"}, r"--image_shape: found '3,a,b'; accepted: 3,S,S"),
    ({"image_shape": "3,32,48"}, r"--image_shape: found '3,32,48'"),
    ({"image_shape": "3,99999,99999"}, r"--image_shape: found .* S from 8 to 2048"),
    ({"resize": "long"}, r"--resize: 'long' is not known"),
    ({"resize_short_size": 20}, r"--resize_short_size: found 20; 32 or more"),
    ({"batch_size": 0}, r"--batch_size: found 0; 1 or more"),
    ({"workers": -1}, r"--workers: found -1; 0 or more"),
    ({"engine": "dynamic"}, r"--engine: 'dynamic' is not known"),
    ({"precision": "fp16"}, r"--precision fp16: works only on GPUs"),
    ({"precision": "int8"}, r"--precision: 'int8' is not known"),
    ({"precision": "bf16"}, r"--precision bf16: on the CPU --engine inference is needed"),
    (
        {"class_names": "BAD/swapped.txt"},
        r"swapped\.txt:7: class 0 is 'class 6, toy', but 'class 0, toy' in \S+classes\.txt, where .* is class 6",
    ),
    ({"class_names": "BAD/class names.txt"}, r"names\.txt: has 2 class names, but n_classes is 7"),
    ({"pretrained_model": "BAD/names"}, r"names/classes\.txt: has 2 class names, but class_dim is 7"),
    ({"img_path": None}, r"--img_path: found none"),
    ({"img_path": "BAD/no"}, r"--img_path \S+/no: does not exist"),
    ({"img_path": "BAD/pictures.d"}, r"/pictures\.d: does not exist; nearest there: pictures"),
    (
        {"img_path": "BAD/*/*.png"},
        r"/\*\.png: does not exist; a pattern in quotes is not expanded: give the folder \([^*]+\), o.* --img_path /$",
    ),
    ({"img_path": "http://a.org/b.jpg"}, r"does not exist; it is an address: download the picture first"),
    ({"img_path": "BAD/pictures/bad.png"}, r"bad\.png: is a file; with --img_list it must be the folder"),
    ({"img_list": "BAD/pictures"}, r"--img_list \S+/pictures: is a folder; .*folders go to --img_path"),
    ({"img_list": "BAD/0.png"}, r"--img_list \S+/0.png: is a picture; .*pictures go to --img_path"),
    ({"image_shape": "BAD/0.png"}, r"accepted: 3,S,S .*; a picture goes to --img_path"),
    ({"pretrained_model": "BAD/exported"}, r"/exported: is an exported model, .*the checkpoint that it was made from"),
    ({"pretrained_model": "BAD/lfs.pdparams"}, r"lfs\.pdparams: is a Git LFS pointer"),
    ({"pretrained_model": "BAD/run"}, r"/run: is the folder of a run; give one of its folders: class"),
    ({"img_list": "BAD/no.txt"}, r"no\.txt: cannot be read"),
    ({"img_list": "BAD/empty.txt"}, r"empty\.txt: lists no image"),
    ({"img_list": "BAD/missing.txt"}, r"missing\.txt:2: \S+/gone\.png does not exist \(2 of 3"),
    ({"crops": 7}, r"--crops: found 7; accepted: 1, 5, 10, 144"),
    ({"scales": "36,a"}, r"--scales: found '36,a'; accepted: different short sides"),
    ({"scales": "36,36"}, r"--scales: found '36,36'; accepted: different"),
    ({"scales": "36,31"}, r"--scales: found 31; 32 \(--image_shape\) or more"),
    ({"crops": 5, "resize_short_size": 31}, r"--resize_short_size: found 31; 32 \(--image_shape\) or more"),
    ({"crops": 144, "scales": "36,40"}, r"found 36,40; --crops 144 needs four"),
    ({"crops": 10, "resize": "straight"}, r"--resize straight: --crops 10 needs the image resized"),
    ({"scales": 40, "resize": "straight"}, r"--resize straight: --scales needs the image resized"),
    ({"scales": 40, "resize_short_size": 40}, r"--scales and --resize_short_size: both"),
]
INFER = [
    ({"topk": 0}, r"--topk: found 0; 1\.\.7"),
    ({"topk": 8}, r"--topk: found 8; 1\.\.7"),
    ({"img_path": "BAD/missing.txt", "img_list": None}, r"missing\.txt: is a text file; if it is a list: --img_list"),
    ({"img_path": "BAD/empty", "img_list": None}, r"/empty: has no image"),
    ({"img_path": "BAD/pictures", "img_list": None}, r"bad\.png: is not a readable image: .*; at most 0 unreadable"),
    ({"output": "BAD/empty.txt/a.csv"}, r"empty\.txt/a\.csv: cannot be written"),
    ({"output": "BAD/a.xlsx"}, r"--output \S+a\.xlsx: names that end in \.csv or"),
    ({"crops": 5, "save_inference": True, "inference_dir": "BAD/m"}, r"a saved model computes one view"),
]
EVAL = [
    (
        {"img_list": None},
        r"images: sub-folder 'some dir' is not a class of \S+; nearest: .* \(of 7 classes\); rename it or move it out, "
        r"or give the classes other names with --class_names FILE",
    ),
    ({**BARE, "img_list": None}, r"--img_list: found none; a file of `path label` lines is needed, or class names"),
    ({"img_list": None, "img_path": "BAD/0.png"}, r"0\.png: is one file; a folder with a sub-folder per class, or"),
    ({"img_list": None, "img_path": "BAD/empty"}, r"has no image in its"),
    ({"img_list": "BAD/no label.txt"}, r"no label\.txt:2: label 'dir/1\.png' is not an integer"),
    ({"img_list": "BAD/beyond.txt"}, r"beyond\.txt:2: label 7 is outside; accepted: 0\.\.6"),
    ({"img_list": "BAD/negative.txt"}, r"negative\.txt:1: label -1 is outside"),
    ({"empty_classes": "drop"}, r"--empty_classes: 'drop' is not known"),
    ({"per_class": "BAD/pictures"}, r"--per_class \S+pictures: is a folder"),
]
CASES = [*((infer, "output", *case) for case in BOTH + INFER), *((evaluation, "per_class", *case) for case in EVAL)]


@pytest.mark.parametrize(("program", "writes", "flags", "message"), CASES)
def test_bad_input_is_one_line_and_nothing_is_written(toys, bad, capsys, tmp_path, program, writes, flags, message):
    flags = {name: value.replace("BAD", str(bad)) if isinstance(value, str) else value for name, value in flags.items()}
    before = sorted(bad.rglob("*"))
    code, _, lines, err = run(capsys, program.main, toys.argv(**{writes: tmp_path / "out.csv", **flags}))
    assert (code, lines, err.count("\n")) == (2, [], 1), err
    assert re.search(message, err), err
    assert sorted(bad.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
