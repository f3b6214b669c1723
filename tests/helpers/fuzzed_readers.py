"""The readers of files that strangers wrote, for tests with damaged files: real files, and what must hold of any.

``check(data, place)``: ``data`` is what the file ``place`` holds. It returns when the bytes were read right or
refused as documented, and raises whatever else happened, ``AssertionError`` for a wrong result.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from tests.helpers.fuzzed_cifar import batch_seeds, check_batch, check_labels, label_seeds
from tests.helpers.picture_files import exif, gif, kinds, picture, with_chunks, with_orientation, with_webp_chunks, xmp
from tests.helpers.torch_file import STORAGES, torch_file
from urnet.checkpoints import fluid, pdparams, safetensors_io, torch_files
from urnet.config.recipe import Transform, dump_recipe
from urnet.core.checks import InputError
from urnet.data.decisions import HEADER, DecisionsFile, read_decisions
from urnet.data.images.decode import UnreadableImage, decode
from urnet.data.images.reduced_decode import train_view
from urnet.data.lists.labelled_list import ListReader, listed_classes, read_list
from urnet.data.lists.lines import read_lines
from urnet.data.lists.webvision_metadata import read_metadata
from urnet.pipeline.recipes import load_recipe
from urnet.review.suspect_list import read_list as read_suspects

ROOT = Path(__file__).resolve().parents[2]
MOST_PIXELS = 1_000_000
SMALL = Transform(size=8, jitter=0.2)


class Reader(NamedTuple):
    """Files to start from, and what is checked of any bytes."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes, Path], None]


def image_seeds() -> list[bytes]:
    """A small picture in every kind that is read, one with an EXIF orientation."""
    turned = [with_orientation(kinds()["jpeg"], 6), with_chunks(kinds()["png"], (b"eXIf", exif(6)))]
    turned.append(with_webp_chunks(kinds()["webp"], (b"EXIF", exif(6)), (b"XMP ", xmp(6))))
    texts = [b"P3 2 1 9 1 2 3 4 5 6", b"P1 3 2 010110", b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 9\nENDHDR\n1234"]
    return [*kinds().values(), gif(picture())[0], *turned, *texts]


def check_image(data: bytes, _: Path) -> None:
    """uint8 RGB, small enough, the same every time; else UnreadableImage in one line, training views too."""
    try:
        image = decode(data, max_pixels=MOST_PIXELS, name="x")
    except UnreadableImage as error:
        assert error.path == "x" and error.reason and "\n" not in error.reason
        image = None
    try:
        view = train_view(data, SMALL, np.random.default_rng(0), max_pixels=MOST_PIXELS)
    except UnreadableImage:
        view = None
    assert (image is None) == (view is None)
    if image is not None and view is not None:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.c_contiguous
        assert 0 < image.shape[0] * image.shape[1] <= MOST_PIXELS
        assert view.shape == (SMALL.size, SMALL.size, 3) and view.dtype == np.uint8
        assert np.array_equal(image, decode(data, max_pixels=MOST_PIXELS))  # no memory that nobody wrote to


def list_seeds() -> list[bytes]:
    """Lists of images as they are published and as people write them."""
    plain = b"".join(b"google/q%04d/%d.jpg %d\n" % (i, i * i, i % 50) for i in range(9))
    odd = "\ufeff# comment\r\n\r\nwith blank.jpg 3\r\ndir/é 图.png\t12 \r\nn 12 x 0\r\n".encode()
    csv = b'\xef\xbb\xbfid,path,label\r\n1,"a, ""b"".jpg",3\r\n2,c\\d.jpg,\r\n\r\n# x\r\n3,e.jpg,7,,\r\n'
    named = "a b.jpg red fox\n/tmp/c.jpg\tant\n#d.jpg ant\n".encode("utf-16")
    return [plain, odd, b"a.jpg\nb.jpg 4\n-1 -1\nc.jpg -1", b"info/q0001.json 1\n" * 5, csv, named, b"a;1\rb; 2;\r"]


def _check_rows(results: list[Any], place: Path, low: int) -> bool:
    """The same from blocks of two sizes: an error of one line (False), or rows of paths inside and numbers low..49."""
    assert isinstance(results[1], str) == isinstance(results[0], str)
    if isinstance(results[0], str):
        assert results[0].startswith(str(place)) and "\n" not in results[0]
        return False
    assert results[0] == results[1]
    for path, number, *_ in results[0]:
        assert path and not path.startswith("/") and ".." not in path.split("/") and "\n" not in path
        assert low <= number <= 49
    return True


def check_list(data: bytes, place: Path) -> None:
    """Every path stays inside, every number in range; blocks of any size give the same lines or an error."""
    for needed in (True, False):
        results: list[Any] = []
        for block_bytes in (1 << 20, 40):
            try:
                blocks = read_lines(place, high=49, needed=needed, block_bytes=block_bytes)
                results.append(
                    [
                        line
                        for block in blocks
                        for line in zip(block.path.to_pylist(), block.number.tolist(), block.line.tolist(), strict=True)
                    ]
                )
            except InputError as error:
                results.append(str(error))
        _check_rows(results, place, 0 if needed else -1)


def check_labelled_list(data: bytes, place: Path) -> None:
    """As ``check_list``, and every line is a row, a comment, a header or empty; names are classes."""
    names = ["ant", "red fox", *map(str, range(2, 50))]
    for needed in (True, False):
        results: list[Any] = []
        for block_bytes in (1 << 20, 40):
            options: dict[str, Any] = {"root": place.parent, "needed": needed}
            try:
                blocks = read_list(
                    place, n_classes=50, class_names=names, block_bytes=block_bytes, quiet=True, **options
                )
                results.append([row for b in blocks for row in zip(b.path.to_pylist(), b.number.tolist(), strict=True)])
                reader = ListReader(place, options["root"], needed, names)
                lines = [int(line) for rows, _, _ in reader.blocks(block_bytes, 49) for line in rows.line]
            except InputError as error:
                results.append(str(error))
        if not _check_rows(results, place, 0 if needed else -1):
            continue
        assert len(lines) == len(results[0]) and lines == sorted(set(lines))
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = data.decode(encoding)
        full = [line.strip(" \t\r") and line[0] for line in re.split("\n" if "\n" in text else "\r", text)]
        header = sum(first not in ("", "#") for first in full[: reader.form.before])
        assert len(lines) + reader.comments.count + header == sum(map(bool, full))
    with contextlib.suppress(InputError):
        listed_classes(place)


def decision_seeds() -> list[bytes]:
    line = "a/1.jpg,{},cat,relabel,dog,2026-01-02T03:04:05Z\n".format("ab" * 32)
    rows = f"{','.join(HEADER)}\n{line}" + '"b, ""c"".jpg",,dog,none,,\na/1.jpg,,cat,keep,,\n'
    return [rows.encode(), ("\ufeffsep=;\r\n" + rows.replace(",", ";")).encode(), rows.encode("utf-16")]


def check_decisions(data: bytes, place: Path) -> None:
    """Read as whole decisions of known kinds, one per path, or refused; written again they are the same."""
    place.write_bytes(data)
    try:
        found = read_decisions(place)
    except InputError as error:
        assert str(error).startswith(str(place)) and "\n" not in str(error)
        return
    assert len({row.path for row in found}) == len(found) == len(found.line) == len(found.effects())
    assert not any(row.fault() for row in found)
    written = place.with_name("written.csv")
    written.unlink(missing_ok=True)
    with DecisionsFile(written) as held:
        held.write_many(list(found))
    again = {row.path: row for row in read_decisions(written, quiet=True)} if len(found) else {}
    assert all((again[row.path].decision, again[row.path].label) == (row.decision, row.label) for row in found)


def metadata_seeds() -> list[bytes]:
    """Entries as in WebVision 2.0 (tags are a string) and 1.0 (a list)."""
    entries: list[dict[str, Any]] = [
        {"id": "a1", "title": "tench é", "description": "", "tags": "fish \ud83d\ude00"},
        {"id": "b2", "title": None, "description": "two\nlines"},
        {"id": "c3", "title": "x", "description": "y", "tags": ["lake", "green"]},
    ]
    return [json.dumps(entries).encode(), json.dumps(entries, ensure_ascii=False).encode(errors="surrogatepass")]


def check_metadata(data: bytes, place: Path) -> None:
    """As many identifiers and texts as entries, in their order."""
    try:
        found = read_metadata(place)
    except InputError as error:
        assert str(error).startswith(str(place)) and "\n" not in str(error)
        return
    ids = [str(entry["id"]) for entry in json.loads(data)]
    assert found.ids.to_pylist() == [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in ids]
    assert len(found.texts) == len(ids) and found.texts.null_count == 0


def recipe_seeds() -> list[bytes]:
    """A short recipe, and one of ours."""
    data = b"name: x\ndata: {root: ., n_classes: 3}\nmodel: {name: a}\n"
    short = data + b"stages:\n- {name: s, duration: 1 epochs}\n"
    return [short, short, short, (ROOT / "recipes" / "folder_scratch.yaml").read_bytes()]


def check_recipe(data: bytes, place: Path) -> None:
    """A recipe that is accepted says the same when it is written and read again."""
    try:
        recipe = load_recipe(place)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 5000
        return
    place.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(place) == recipe


def some_arrays() -> dict[str, np.ndarray]:
    """Arrays of several number types and orders."""
    rng = np.random.default_rng(0)
    made = {"w": rng.random((3, 4), np.float32), "half": rng.random(5).astype(np.float16)}
    made["turned"] = np.asfortranarray(rng.random((2, 3)).astype(np.float32))
    return {**made, "count": np.array([7]), "bits": np.arange(4, dtype=np.uint16), "flag": np.array([True, False])}


def fluid_seeds() -> list[bytes]:
    """Variables one by one, one with LoD, and three in one file."""
    made = some_arrays()
    ours = [b"".join(fluid.variable_bytes(made[name])) for name in ("w", "half", "count")]
    with_lod = ours[0][:4] + struct.pack("<QQ8s", 1, 8, b"12345678") + ours[0][12:]
    return [*ours, with_lod, b"".join(ours)]


def safetensors_seeds() -> list[bytes]:
    """Several types, one of them bfloat16, which NumPy does not have."""
    text = json.dumps({"b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    ours = safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in some_arrays().items()})
    return [ours, struct.pack("<Q", len(text)) + text + bytes(range(8))]


def pdparams_seeds() -> list[bytes]:
    """Pickles as paddle.save writes them: plain, pairs of name and array, an array in slices."""
    made = some_arrays()
    paired: dict[str, Any] = {"fc.weight": ("linear_0.w_0", made["w"]), pdparams.NAME_TABLE: {"fc.weight": "w"}}
    slices = {"w": {"OriginShape": (2, 4), "slices": ["w@@.0", "w@@.1"]}}
    sliced = {"w@@.0": made["w"][0], "w@@.1": made["w"][1], pdparams.BIG_ARRAYS: slices}
    return [pickle.dumps(tree, protocol) for tree in (made, paired, sliced) for protocol in (2, 4)]


def torch_seeds() -> list[bytes]:
    """Both forms of torch.save."""
    made = {key: array for key, array in some_arrays().items() if array.dtype.str[1:] in STORAGES}
    return [torch_file(made, chain=chain) for chain in (False, True)]


def _check_weights(read: Callable[[Path], dict[str, np.ndarray]], factor: int) -> Callable[[bytes, Path], None]:
    """Arrays of numbers, at most ``factor`` times the file's size together, the same when read again."""

    def check(data: bytes, place: Path) -> None:
        try:
            found = read(place)
        except InputError as error:
            assert str(error).startswith(str(place)) and "\n" not in str(error)
            return
        for (name, array), again in zip(found.items(), read(place).values(), strict=True):
            assert isinstance(name, str) and array.dtype.kind in "fiub"
            assert array.tobytes() == again.tobytes()
        assert sum(array.nbytes for array in found.values()) <= factor * len(data)

    return check


def _read_fluid(place: Path) -> dict[str, np.ndarray]:
    return {"x": fluid.read_variable(place)} if place.stat().st_size % 2 else fluid.read_combined(place, "abc")


def suspect_seeds() -> list[bytes]:
    """A list of suspects as it is written, and as Excel saves it."""
    head = b"path,given,suggested,suggested_prob,label_quality,verdict,group,in_classes,same_as\n"
    plain = (
        head + b"a/1.jpg,a,b,0.9000,0.0100,wrong label,,1.0000,\n" + b'"b/""2"".jpg",b,b,0.1,0.5,fine,3,0.9,a/1.jpg\n'
    )
    odd = b"\xef\xbb\xbf" + head.replace(b",", b";") + "é 图;10;2;0,9;0,01;off topic;7;0,2;\r\n".encode()
    return [plain, odd, head + b"x,1,,,0.5,unreadable,,,\n" * 2]


def check_suspects(data: bytes, place: Path) -> None:
    """Columns of one length within their ranges; else an InputError of one line that names the file."""
    try:
        found = read_suspects(place)
    except InputError as error:
        assert str(error).startswith(str(place)) and "\n" not in str(error)
        return
    n, evidence = len(found.paths), found.evidence
    assert n and len(found.given) == n and found.paths.null_count == 0
    assert ((found.given >= 0) & (found.given < len(found.class_names))).all()
    assert ((evidence.suggested >= -1) & (evidence.suggested < len(found.class_names))).all()
    assert ((evidence.label_quality >= 0) & (evidence.label_quality <= 1)).all()


READERS = {
    "cifar": Reader(batch_seeds, check_batch),
    "cifar-10n": Reader(label_seeds, check_labels),
    "suspects": Reader(suspect_seeds, check_suspects),
    "images": Reader(image_seeds, check_image),
    "lists": Reader(list_seeds, check_list),
    "labelled lists": Reader(list_seeds, check_labelled_list),
    "decisions": Reader(decision_seeds, check_decisions),
    "metadata": Reader(metadata_seeds, check_metadata),
    "recipes": Reader(recipe_seeds, check_recipe),
    "fluid": Reader(fluid_seeds, _check_weights(_read_fluid, 2)),
    "safetensors": Reader(safetensors_seeds, _check_weights(safetensors_io.read_safetensors, 2)),
    "torch": Reader(torch_seeds, _check_weights(torch_files.read_tensors, 2 * torch_files.MOST_NAMES)),
    "pdparams": Reader(pdparams_seeds, _check_weights(pdparams.read_arrays, 2 * pdparams.MOST_NAMES)),
}
