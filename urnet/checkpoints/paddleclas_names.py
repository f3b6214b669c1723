"""What PaddleClas calls the layers of our networks, and which of its networks are not ours.

Its DenseNet has the names of paddle.vision's, which ``network.published_names()`` gives.
"""

from __future__ import annotations

from urnet.checkpoints.renaming import Family, Rule, Unlike, shifted

_HEAD: Rule = (r"^out$", "fc")
_CONV_BN: list[Rule] = [(r"\._conv$", ".conv"), (r"\._batch_norm$", ".bn")]

RESNET = Family(
    "PaddleClas",
    [
        (r"^stem\.0\.(conv|bn)$", r"\g<1>1"),
        (r"\.conv(\d)\.conv$", shifted(".conv#", 1)),
        (r"\.conv(\d)\.bn$", shifted(".bn#", 1)),
        (r"\.short\.conv$", ".downsample.0"),
        (r"\.short\.bn$", ".downsample.1"),
    ],
    units=r"^blocks\.(\d+)(?=\.)",
    here=r"^layer([1-4])\.(\d+)(?=\.)",
    pytorch=False,
)
RESNEXT = Family(
    "PaddleClas",
    [
        (r"\.conv([0-2])\.", shifted(".conv#.", 1)),
        (r"\.short\.", ".shortcut."),
        (r"^conv\.", "stem."),
        *_CONV_BN,
        _HEAD,
    ],
    units=r"^bb_(\d)_(\d+)(?=\.)",
    here=r"^stage([1-4])\.(\d+)(?=\.)",
    pytorch=False,
)
INCEPTION_V3 = Family("PaddleClas", [(r"\.conv$", ".0"), (r"\.bn$", ".1")], pytorch=False)
DPN = Family(
    "PaddleClas",
    [
        (r"^conv1_x_1_func\.", "stem."),
        (r"^conv5_x_x_bn$", "last.bn"),
        (r"c1x1_w_func", "projection"),
        (r"c1x1_a_func", "conv1"),
        (r"c3x3_b_func", "conv2"),
        (r"c1x1_c_func", "conv3"),
        *_CONV_BN,
        _HEAD,
    ],
    units=r"^dpn(\d+)(?=\.)",
    pytorch=False,
    epsilon=1e-5 - 1e-3,
)
FAMILIES = (RESNET, RESNEXT, INCEPTION_V3, DPN)
UNLIKE = (
    Unlike(
        ("stem.2.conv.weight", "blocks.0.conv0.conv.weight"),
        "PaddleClas's ResNet_vc or ResNet_vd: three convolutions in the stem, where ours has one; its ResNet50, 101 "
        "and 152 are accepted",
    ),
    Unlike(
        ("blocks.0.short.conv.weight",),
        "PaddleClas's ResNet18 or ResNet34: its first unit projects its shortcut, which ours does not; its ResNet50, "
        "101 and 152 are accepted, and ResNets of torchvision, timm and paddle.vision",
        unless="layer1.0.downsample.0.weight",
    ),
    Unlike(
        ("bb_0_0.scale.squeeze.weight",),
        "PaddleClas's SE_ResNeXt: its max-pool has a border of one pixel, which ours has not; timm's "
        "legacy_seresnext50_32x4d and legacy_seresnext101_32x4d are accepted",
    ),
    Unlike(
        ("_inception_stem._conv_1._conv.weight",),
        "PaddleClas's InceptionV4: its convolutions along rows and columns come in another order than the authors'; "
        "timm's inception_v4 is accepted",
    ),
    Unlike(
        ("layer1.layer1_bottleneck_0.conv1._conv.weight",),
        "PaddleClas's ResNeSt: its average pools leave out the border, which ours count; timm's resnest50d and "
        "resnest101e are accepted",
    ),
)
