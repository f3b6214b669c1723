"""What timm, torchvision and efficientnet-lite-pytorch (all PyTorch) call the layers of our networks.

timm took torchvision's names where both have a network: one family serves both.
"""

from __future__ import annotations

from collections.abc import Mapping

from urnet.checkpoints.renaming import Family, Rule, Unlike, shifted

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

BOTH, TIMM_ONLY = "timm and torchvision", "timm"

RESNET = Family(BOTH, [])
RESNEXT = Family(BOTH, [(r"^conv1$", "stem.conv"), (r"^bn1$", "stem.bn"), (r"^layer", "stage"), *_CONV_BN])
DENSENET = Family(
    BOTH,
    [
        (r"^features\.norm5$", "batch_norm"),
        (r"^features\.(conv|norm)0$", r"conv1_func.\1"),
        (r"^features\.denseblock(\d)", shifted("db_conv_#", 1)),
        (r"^(db_conv_)(\d)\.denselayer(\d+)\.(conv|norm)\.?(\d)$", r"\1\2.conv\2_\3.bn_ac_func\5.\4"),
        (r"^features\.transition(\d)", shifted("tr_conv#_blk.conv_ac_func", 1)),
        (r"\.conv$", "._conv"),
        (r"\.norm$", "._batch_norm"),
        _HEAD,
    ],
)
SE_RESNEXT = Family(
    TIMM_ONLY,
    [(r"^layer0\.conv1$", "stem.conv"), (r"^layer0\.bn1$", "stem.bn"), *_CONV_BN, *_SQUEEZE, _HEAD],
    units=_STAGED,
)
SENET = Family(
    TIMM_ONLY,
    [
        (r"^layer0\.conv(\d)$", shifted("stem.#.conv", -1)),
        (r"^layer0\.bn(\d)$", shifted("stem.#.bn", -1)),
        *SE_RESNEXT.rules,
    ],
    units=_STAGED,
)
RESNEST = Family(
    TIMM_ONLY,
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
    TIMM_ONLY,
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
    BOTH,
    [
        (r"^AuxLogits\.conv(\d)", shifted("auxiliary.conv#", 1)),
        (r"^AuxLogits\.fc$", "auxiliary.classifier"),
        (r"^Conv2d", "inception_stem.conv"),
        (r"branch_pool", "branch_pool_conv"),
        (r"^(inception.*)\.conv$", r"\1.0"),
        (r"^(inception.*)\.bn$", r"\1.1"),
    ],
    units=r"^Mixed_(\d)([a-e])(?=\.)",
    here=r"^inception_block_list\.(\d+)(?=\.)",
    epsilon=1e-3 - 1e-5,
    features=0.8,  # Paddle's dropout in evaluation
)
INCEPTION_V4 = Family(
    TIMM_ONLY,
    [
        (r"^features\.([0-2])(?=\.)", r"units.0.\1"),
        (r"^features\.3\.conv", "units.1.branches.1.0"),
        (r"^features\.5\.conv", "units.3.branches.0.0"),
        (r"^features\.(\d+)", shifted("units.#", -2)),
        (r"branch1_0", "branches.1.0.0"),
        (r"branch1_1a", "branches.1.1.branches.0.0"),
        (r"branch1_1b", "branches.1.1.branches.1.0"),
        (r"branch2_([0-2])", r"branches.2.0.\1"),
        (r"branch2_3a", "branches.2.1.branches.0.0"),
        (r"branch2_3b", "branches.2.1.branches.1.0"),
        *_BRANCHES,
        _HEAD,
    ],
)
INCEPTION_RESNET_V2 = Family(
    TIMM_ONLY,
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
        (r"^repeat\.(\d+)", shifted("units.#.residual", 3)),
        (r"^repeat_1\.(\d+)", shifted("units.#.residual", 14)),
        (r"^repeat_2\.(\d+)", shifted("units.#.residual", 35)),
        (r"residual\.conv2d$", "projection"),
        (r"residual", "branches"),
        *_BRANCHES,
        _HEAD,
    ],
)
EFFICIENTNET_LITE = Family(
    TIMM_ONLY,
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
EFFICIENTNET_LITE_PACKAGE = Family(  # its weights are a package as well
    "efficientnet-lite-pytorch",
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
    ],
)
MOBILENET_V3 = Family(
    "torchvision",
    [
        (r"^blocks\.0\.block\.0\.", "blocks.0.bottleneck_conv."),  # the first unit does not expand
        (r"^blocks\.0\.block\.1\.", "blocks.0.linear_conv."),
        (r"block\.0\.", "expand_conv."),
        (r"block\.1\.", "bottleneck_conv."),
        (r"block\.2\.fc(\d)$", r"mid_se.fc\1"),
        (r"block\.[23]\.(\d)$", r"linear_conv.\1"),
        (r"^features\.0\.", "conv."),
        (r"^features\.16\.", "lastconv."),
        (r"^classifier\.0$", "hidden"),
        (r"^classifier\.3$", "fc"),
    ],
    units=r"^features\.(\d+)(?=\.block)",
    here=r"^blocks\.(\d+)(?=\.)",
)
FAMILIES = (
    RESNET,
    RESNEXT,
    DENSENET,
    INCEPTION_V3,
    INCEPTION_V4,
    INCEPTION_RESNET_V2,
    SE_RESNEXT,
    SENET,
    RESNEST,
    DPN,
    EFFICIENTNET_LITE,
    EFFICIENTNET_LITE_PACKAGE,
    MOBILENET_V3,
)
UNLIKE = (
    Unlike(
        ("layer1.0.se.fc1.weight",),
        "timm's seresnext and its kind: their max-pool has a border of one pixel, which ours has not; "
        "legacy_seresnext50_32x4d and legacy_seresnext101_32x4d fit SE_ResNeXt",
    ),
)
TIMM: Mapping[str, str] = {  # our network -> timm's of the same architecture
    "ResNeXt101_32x4d": "resnext101_32x8d",
    "ResNeXt50_32x4d_standard": "resnext50_32x4d",
    "ResNeXt101_32x4d_standard": "resnext101_32x4d",
    "ResNeXt101_64x4d": "resnext101_64x4d",
    "ResNet18": "resnet18",
    "ResNet34": "resnet34",
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "DenseNet121": "densenet121",
    "DenseNet161": "densenet161",
    "DenseNet169": "densenet169",
    "DenseNet201": "densenet201",
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "InceptionResNetV2": "inception_resnet_v2",
    "SE_ResNeXt50_32x4d": "legacy_seresnext50_32x4d",
    "SE_ResNeXt101_32x4d": "legacy_seresnext101_32x4d",
    "SENet154": "legacy_senet154",
    "ResNeSt50": "resnest50d",
    "ResNeSt101": "resnest101e",
    "DPN92": "dpn92",
    "DPN131": "dpn131",
    "EfficientNetLite0": "tf_efficientnet_lite0",
}
