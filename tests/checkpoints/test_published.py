"""Published weights by one word: which file it is, where it is looked for, and what belongs to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.helpers.faulty_server import Served, serving
from urnet.checkpoints.imagenet import NETWORKS, is_word, whole_word
from urnet.checkpoints.locate import locate
from urnet.checkpoints.published import FOLDER, Published, published, weights_of
from urnet.core.checks import InputError

BODY = b"weights" * 1000
MD5 = hashlib.md5(BODY).hexdigest()


def of_server(address: str, cache: Path, word: str = "imagenet", network: str | None = "ResNet50") -> Published:
    """What a word means where Paddle's list names a server of ours."""
    return published(word, network, addresses=lambda _: {"resnet50": (f"{address}/w.pdparams", MD5)}, cache=cache)


def test_what_is_a_word() -> None:
    """A Path is a path, and so is ./imagenet, whatever it is called."""
    assert is_word("imagenet") and is_word("imagenet:ResNet50")
    assert not any(map(is_word, (Path("imagenet"), "./imagenet", "imagenet1k", "imagenet/best", None)))


@pytest.mark.parametrize("network", NETWORKS)
def test_what_belongs_to_weights(network: str) -> None:
    found = published("imagenet", network)
    assert found == published(f"imagenet:{network}")
    assert len(found.class_names) == len(set(found.class_names)) == len(set(found.synsets)) == 1000
    assert found.synsets == sorted(found.synsets)
    assert (found.synsets[0], found.class_names[0]) == ("n01440764", "tench")
    assert found.class_names[134] == "crane bird" and found.class_names[517] == "crane"
    assert found.transform.eval == "short" and found.licence.startswith("Apache-2.0")
    assert bool(found.url) != bool(found.package)
    geometry = (found.transform.size, found.transform.resize_short)
    assert geometry == ((299, 320) if network == "InceptionV3" else (224, 256))


def test_lites_pixels_are_those_of_its_authors() -> None:
    """(x - 127) / 128, of values 0..255."""
    t = published("imagenet", "EfficientNetLite0").transform
    assert [(pixel / 255 - t.mean[0]) / t.std[0] for pixel in (0, 127, 255)] == pytest.approx([-127 / 128, 0, 1])


def test_the_addresses_are_paddles() -> None:
    from paddle.vision.models import densenet, resnet

    found = published("imagenet", "ResNet50")
    assert (found.url, found.digest) == (resnet.model_urls["resnet50"][0], ("md5", resnet.model_urls["resnet50"][1]))
    assert published("imagenet", "DenseNet161").url == densenet.model_urls["densenet161"][0]


def test_downloaded_once_then_found(tmp_path: Path) -> None:
    served = Served(BODY)
    with serving({"/w.pdparams": served}) as address:
        weights = of_server(address, tmp_path / "cache")
        assert weights.find() is None and "would be downloaded from" in weights.missing()
        paths = {weights.here().path for _ in range(2)}
    assert paths == {tmp_path / "cache" / "w.pdparams"} and len(served.starts) == 1
    assert weights.find() == tmp_path / "cache" / "w.pdparams"


def test_a_folder_of_ones_own_is_looked_into_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, cache = tmp_path / "own", tmp_path / "cache"
    for folder in (own, cache):
        folder.mkdir()
        (folder / "w.pdparams").write_bytes(BODY)
    assert of_server("http://no.where", cache).find() == cache / "w.pdparams"
    monkeypatch.setenv(FOLDER, str(own))
    assert of_server("http://no.where", cache).find() == own / "w.pdparams"
    (own / "w.pdparams").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"own/w\.pdparams: is not the file published for ResNet50: its MD5 is"):
        of_server("http://no.where", cache).find()
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"URNET_WEIGHTS: .*nowhere is not a folder"):
        of_server("http://no.where", cache).find()


def test_without_a_network_one_line_says_it_all(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        of_server("http://127.0.0.1:9", tmp_path).here()
    text = str(caught.value)
    assert "\n" not in text
    assert all(part in text for part in ("http://127.0.0.1:9/w.pdparams", f"put w.pdparams into {tmp_path}", FOLDER))


@pytest.mark.parametrize(
    ("word", "network", "line"),
    [
        ("imagenet", None, "give the network as"),
        ("imagenet:ResNet50", "ResNet18", "the network is ResNet18"),
        ("imagenet", "SENet154", "timm's of legacy_senet154 fit: give the path of their .safetensors file"),
        ("imagenet", "ResNeXt_small32", "no weights are published of ResNeXt_small32; .*imagenet has weights of Eff"),
        ("imagenet:Resnet51", None, "no weights are published of Resnet51; nearest: .*ResNet50"),
        ("imagenet:EfficientNetlit", None, "nearest: EfficientNetLite0; imagenet has"),
        ("imagenet:senet154", None, "timm's of legacy_senet154 fit"),
        ("imagenet:", None, "no weights are published of"),
        ("weights", None, "does not name published weights"),
    ],
)
def test_what_no_weights_are_published_of(word: str, network: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line):
        weights_of(word, network)


def test_capitals_of_a_networks_name_do_not_matter() -> None:
    assert published("imagenet:resnet50") == published("imagenet:ResNet50")
    assert whole_word("imagenet:EfficientNetlite0", "EfficientNetLite0") == "imagenet:EfficientNetLite0"


def test_what_is_on_this_machine_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = published("imagenet", "ResNet34").file
    (tmp_path / file).write_bytes(b"")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(InputError, match=r"ResNet34 \(on this machine\), ResNet"):
        weights_of("imagenet")
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"give the network as .* EfficientNetLite0, ResNet18"):
        weights_of("imagenet")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("imagenett", "imagenet"), ("ImageNet:ResNet50", "imagenet:ResNet50"), ("images", ""), ("net.pdparams", "")],
)
def test_a_misspelled_word_is_recognised(text: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        locate(text)
    assert f"(did you mean {meant}?)" in str(caught.value) if meant else "did you mean" not in str(caught.value)
    assert "imagenet or imagenet:NETWORK" in str(caught.value)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_documents_table_is_true(network: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    found = published("imagenet", network)
    view = f"{found.transform.size} of {found.transform.resize_short}"
    where = found.package or found.source.partition(" ")[0]
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {network} |")]
    assert all(part in line for part in (f"`{found.file}`", f"`{where}`", f"| {view} |", "Apache-2.0"))
    assert ("(x - 127) / 128" in line) == (found.transform.mean[0] == 127 / 255)
