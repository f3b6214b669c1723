"""What the parameters of our networks are called in other libraries, timm above all (PyTorch), and ours.

A name is a layer's and that of one of its parts (weight, bias, running statistics). A family of networks has a
few rules, regular expressions that turn the name of a layer there into ours; where the other library numbers units anew
in each stage and we number them through, they are counted. Only names and shapes are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from urnet.config.choices import CLASSIFIERS
from urnet.core.checks import InputError, check_choice

Shape = tuple[int, ...]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
PARTS = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}  # timm's -> ours
UNUSED = "num_batches_tracked"  # a counter that no output depends on


@dataclass(frozen=True, eq=False)
class Family:
    """How layers are renamed: first the numbers of units, found by ``units``, then the rules in their order."""

    rules: Sequence[Rule]
    units: str | None = None  # an expression for a unit's name there; the n-th in their order is ``counted``.n
    counted: str = "units"


def _shifted(template: str, by: int) -> Callable[[re.Match[str]], str]:
    """A replacement: the template with the match's last group, a number, moved by ``by``, in place of #."""
    return lambda match: template.replace("#", str(int(match[match.lastindex or 0]) + by))


_STAGED = r"^layer([1-4])\.(\d+)(?=\.)"
_CONV_BN: list[Rule] = [
    (r"^(\w+\.\d+)\.conv(\d)$", r"\1.conv\2.conv"),
    (r"^(\w+\.\d+)\.bn(\d)$", r"\1.conv\2.bn"),
    (r"downsample\.0$", "shortcut.conv"),
    (r"downsample\.1$", "shortcut.bn"),
]
_SQUEEZE: list[Rule] = [(r"se_module\.fc1$", "scale.reduce"), (r"se_module\.fc2$", "scale.expand")]
_HEAD: Rule = (r"^(classifier|last_linear|classif)$", "fc")
_BRANCHES: list[Rule] = [  # of Inception-v4 and Inception-ResNet-v2
    (r"branch3\.1\.", "branches.3.1.0."),  # behind a pool
    (r"branch(\d)\.(\d)\.", r"branches.\1.\2."),
    (r"branch(\d)\.", r"branches.\1.0."),
]

RESNET = Family([])
RESNEXT = Family([(r"^conv1$", "stem.conv"), (r"^bn1$", "stem.bn"), (r"^layer", "stage"), *_CONV_BN])
DENSENET = Family(
    [
        (r"^features\.norm5$", "batch_norm"),
        (r"^features\.(conv|norm)0$", r"conv1_func.\1"),
        (r"^features\.denseblock(\d)", _shifted("db_conv_#", 1)),
        (r"^(db_conv_)(\d)\.denselayer(\d+)\.(conv|norm)(\d)$", r"\1\2.conv\2_\3.bn_ac_func\5.\4"),
        (r"^features\.transition(\d)", _shifted("tr_conv#_blk.conv_ac_func", 1)),
        (r"\.conv$", "._conv"),
        (r"\.norm$", "._batch_norm"),
        _HEAD,
    ]
)
SE_RESNEXT = Family(
    [(r"^layer0\.conv1$", "stem.conv"), (r"^layer0\.bn1$", "stem.bn"), *_CONV_BN, *_SQUEEZE, _HEAD], units=_STAGED
)
SENET = Family(
    [
        (r"^layer0\.conv(\d)$", _shifted("stem.#.conv", -1)),
        (r"^layer0\.bn(\d)$", _shifted("stem.#.bn", -1)),
        *SE_RESNEXT.rules,
    ],
    units=_STAGED,
)
RESNEST = Family(
    [
        (r"^conv1\.([036])$", lambda match: f"stem.{int(match[1]) // 3}.conv"),
        (r"^conv1\.([14])$", lambda match: f"stem.{int(match[1]) // 3}.bn"),
        (r"^bn1$", "stem.2.bn"),
        (r"conv2\.conv$", "conv2.conv.conv"),
        (r"conv2\.bn0$", "conv2.conv.bn"),
        (r"conv2\.bn1$", "conv2.bn"),
        (r"downsample\.1$", "shortcut.conv"),
        (r"downsample\.2$", "shortcut.bn"),
        *_CONV_BN,
    ],
    units=_STAGED,
)
DPN = Family(
    [
        (r"^features\.conv1_1", "stem"),
        (r"^features\.conv5_bn_ac", "last"),
        (r"c1x1_w_s\d", "projection"),
        (r"c1x1_a", "conv1"),
        (r"c3x3_b", "conv2"),
        (r"c1x1_c", "conv3"),
        _HEAD,
    ],
    units=r"^features\.conv([2-5])_(\d+)(?=\.)",
)
INCEPTION_V3 = Family(
    [
        (r"^AuxLogits\.conv(\d)", _shifted("auxiliary.conv#", 1)),
        (r"^AuxLogits\.fc$", "auxiliary.classifier"),
        (r"^Conv2d", "inception_stem.conv"),
        (r"branch_pool", "branch_pool_conv"),
        (r"^(inception.*)\.conv$", r"\1.0"),
        (r"^(inception.*)\.bn$", r"\1.1"),
    ],
    units=r"^Mixed_(\d)([a-e])(?=\.)",
    counted="inception_block_list",
)
INCEPTION_V4 = Family(
    [
        (r"^features\.([0-2])(?=\.)", r"units.0.\1"),
        (r"^features\.3\.conv", "units.1.branches.1.0"),
        (r"^features\.5\.conv", "units.3.branches.0.0"),
        (r"^features\.(\d+)", _shifted("units.#", -2)),
        (r"branch1_0", "branches.1.0.0"),
        (r"branch1_1a", "branches.1.1.branches.0.0"),
        (r"branch1_1b", "branches.1.1.branches.1.0"),
        (r"branch2_([0-2])", r"branches.2.0.\1"),
        (r"branch2_3a", "branches.2.1.branches.0.0"),
        (r"branch2_3b", "branches.2.1.branches.1.0"),
        *_BRANCHES,
        _HEAD,
    ]
)
INCEPTION_RESNET_V2 = Family(
    [
        (r"^conv2d_1a", "units.0.0"),
        (r"^conv2d_2a", "units.0.1"),
        (r"^conv2d_2b", "units.0.2"),
        (r"^conv2d_3b", "units.1.1.0"),
        (r"^conv2d_4a", "units.1.1.1"),
        (r"^mixed_5b", "units.2.1"),
        (r"^mixed_6a", "units.13"),
        (r"^mixed_7a", "units.34"),
        (r"^conv2d_7b", "units.45.0"),
        (r"^block8", "units.44.residual"),
        (r"^repeat\.(\d+)", _shifted("units.#.residual", 3)),
        (r"^repeat_1\.(\d+)", _shifted("units.#.residual", 14)),
        (r"^repeat_2\.(\d+)", _shifted("units.#.residual", 35)),
        (r"residual\.conv2d$", "projection"),
        (r"residual", "branches"),
        *_BRANCHES,
        _HEAD,
    ]
)
EFFICIENTNET_LITE = Family(
    [
        (r"^conv_(stem|head)$", lambda match: f"{match[1]}.conv"),
        (r"^bn1$", "stem.bn"),
        (r"^bn2$", "head.bn"),
        (r"^units\.0\.conv_pw$", "units.0.project.conv"),
        (r"^units\.0\.bn1$", "units.0.depthwise.bn"),
        (r"^units\.0\.bn2$", "units.0.project.bn"),
        (r"\.conv_pw$", ".expand.conv"),
        (r"\.conv_dw$", ".depthwise.conv"),
        (r"\.conv_pwl$", ".project.conv"),
        (r"(units\.\d+)\.bn1$", r"\1.expand.bn"),
        (r"(units\.\d+)\.bn2$", r"\1.depthwise.bn"),
        (r"(units\.\d+)\.bn3$", r"\1.project.bn"),
        _HEAD,
    ],
    units=r"^blocks\.(\d)\.(\d+)(?=\.)",
)
EFFICIENTNET_LITE_PACKAGE = Family(  # efficientnet-lite-pytorch, whose weights are a package as well
    [
        (r"^_conv_(stem|head)$", r"\1.conv"),
        (r"^_bn0$", "stem.bn"),
        (r"^_bn1$", "head.bn"),
        (r"^_fc$", "fc"),
        (r"^_blocks", "units"),
        (r"\._(expand|depthwise|project)_conv$", r".\1.conv"),
        (r"\._bn0$", ".expand.bn"),
        (r"\._bn1$", ".depthwise.bn"),
        (r"\._bn2$", ".project.bn"),
    ]
)
TIMM: Mapping[str, tuple[str, Family]] = {  # our network -> timm's of the same architecture
    "ResNeXt101_32x4d": ("resnext101_32x8d", RESNEXT),
    "ResNeXt50_32x4d_standard": ("resnext50_32x4d", RESNEXT),
    "ResNeXt101_32x4d_standard": ("resnext101_32x4d", RESNEXT),
    "ResNeXt101_64x4d": ("resnext101_64x4d", RESNEXT),
    "ResNet18": ("resnet18", RESNET),
    "ResNet34": ("resnet34", RESNET),
    "ResNet50": ("resnet50", RESNET),
    "ResNet101": ("resnet101", RESNET),
    "ResNet152": ("resnet152", RESNET),
    "DenseNet121": ("densenet121", DENSENET),
    "DenseNet161": ("densenet161", DENSENET),
    "DenseNet169": ("densenet169", DENSENET),
    "DenseNet201": ("densenet201", DENSENET),
    "InceptionV3": ("inception_v3", INCEPTION_V3),
    "InceptionV4": ("inception_v4", INCEPTION_V4),
    "InceptionResNetV2": ("inception_resnet_v2", INCEPTION_RESNET_V2),
    "SE_ResNeXt50_32x4d": ("legacy_seresnext50_32x4d", SE_RESNEXT),
    "SE_ResNeXt101_32x4d": ("legacy_seresnext101_32x4d", SE_RESNEXT),
    "SENet154": ("legacy_senet154", SENET),
    "ResNeSt50": ("resnest50d", RESNEST),
    "ResNeSt101": ("resnest101e", RESNEST),
    "DPN92": ("dpn92", DPN),
    "DPN131": ("dpn131", DPN),
    "EfficientNetLite0": ("tf_efficientnet_lite0", EFFICIENTNET_LITE),
}
FAMILIES: tuple[Family, ...] = (*dict.fromkeys(family for _, family in TIMM.values()), EFFICIENTNET_LITE_PACKAGE)
TRAINING_ONLY = "auxiliary."  # a head that published weights may be without


def in_our_names(weights: Mapping[str, np.ndarray], ours: Mapping[str, Shape]) -> dict[str, np.ndarray] | None:
    """Another library's ``weights`` under our names and in our layout; None where no family's names fit.

    ``ours``: the shapes of a network's state dict by key. Names fit where each has a partner here, and each here one
    there; the classifier and a head that only training uses may be missing. Shapes are the caller's to check.
    """
    keys = [key for key in weights if not key.endswith(UNUSED)]
    optional = {key for key in ours if key.startswith((TRAINING_ONLY, *CLASSIFIERS))}
    for family in FAMILIES:
        layers = _renamed({key.rpartition(".")[0] for key in keys}, family)
        names = [_partner(key, layers) for key in keys]
        if len(set(names)) == len(names) and set(ours) - optional <= set(names) <= set(ours):
            return {name: as_ours(weights[key], ours[name]) for name, key in zip(names, keys, strict=True)}
    return None


def timm_names(network: str, theirs: Mapping[str, Shape], ours: Mapping[str, Shape]) -> dict[str, str]:
    """Key of our state dict -> key of timm's, for the ``network`` of that name.

    ``theirs`` and ``ours`` are the shapes of all parameters and buffers by key; their order does not matter.
    Raises InputError, which names the first, for a key without a partner or of another shape.
    """
    check_choice("network", network, TIMM)
    family = TIMM[network][1]
    keys = [key for key in theirs if not key.endswith(UNUSED)]
    layers = _renamed({key.rpartition(".")[0] for key in keys}, family)
    names: dict[str, str] = {}
    for key in keys:
        own = _partner(key, layers)
        if own not in ours or own in names:
            raise InputError(f"{network}: {key} of timm's has no partner (looked for {own})")
        if as_ours(np.broadcast_to(np.float32(0), theirs[key]), ours[own]).shape != tuple(ours[own]):
            raise InputError(f"{network}: {own} has shape {ours[own]}, but timm's {key} has {theirs[key]}")
        names[own] = key
    missing = [key for key in ours if key not in names]
    if missing:
        raise InputError(f"{network}: {missing[0]} has no partner among timm's parameters")
    return names


def _partner(key: str, layers: Mapping[str, str]) -> str:
    """Our name of the parameter ``key``; ``layers``: name of a layer there -> ours."""
    layer, _, part = key.rpartition(".")
    return f"{layers[layer]}.{PARTS.get(part, part)}"


def as_ours(array: np.ndarray, shape: Shape) -> np.ndarray:
    """PyTorch's array in the layout of our parameter of that ``shape``.

    A linear layer's weight is (in, out) here and (out, in) there, where it may also be a 1x1 convolution's.
    """
    if len(shape) == 2 and (array.ndim == 2 or array.shape[2:] == (1, 1)):
        return array.reshape(array.shape[:2]).T
    return array


def _renamed(layers: Iterable[str], family: Family) -> dict[str, str]:
    """Name of a layer there -> ours."""
    layers = list(layers)
    found = [re.match(family.units, layer) for layer in layers] if family.units else []
    places = {match[0]: tuple((len(part), part) for part in match.groups()) for match in found if match}
    numbers = {unit: n for n, unit in enumerate(sorted(places, key=lambda unit: places[unit]))}
    names = {}
    for layer in layers:
        name = layer
        unit = re.match(family.units, layer) if family.units else None
        if unit:
            name = f"{family.counted}.{numbers[unit[0]]}{layer[unit.end() :]}"
        for pattern, replacement in family.rules:
            name = re.sub(pattern, replacement, name)
        names[layer] = name
    return names
