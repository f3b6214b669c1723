"""ResNeXt: residual units of grouped convolutions (Xie et al. 2017, "Aggregated Residual Transformations").

``ResNeXt*_32x4d`` are the networks of the 2018 release. Their units are 256, 512, 1024 and 2048 wide
in all three convolutions, which the paper would call 32x8d; ``…_standard`` have the paper's 32x4d width.
Released weights fit the former only. The latter, and ``…_64x4d``, compute what Paddle's networks of these
names do (``paddle.vision.models``) and read the weights published for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import paddle
from paddle import nn

from .blocks import ConvBN, FromFeatures, classifier


class Unit(nn.Layer):
    """1x1, grouped 3x3 (with the stride), 1x1, plus a shortcut, projected where width or stride changes."""

    def __init__(self, n_in: int, width: int, n_out: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(n_in, width, 1)
        self.conv2 = ConvBN(width, width, 3, stride=stride, groups=groups)
        self.conv3 = ConvBN(width, n_out, 1, relu=False)
        self.shortcut: ConvBN | None = None
        if stride != 1 or n_in != n_out:
            self.shortcut = ConvBN(n_in, n_out, 1, stride=stride, relu=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        straight = x if self.shortcut is None else self.shortcut(x)
        return nn.functional.relu(self.conv3(self.conv2(self.conv1(x))) + straight)


class ResNeXt(FromFeatures, nn.Layer):
    """Stages of ``depths`` units, ``widths`` inside and ``n_outs`` outside; each later stage halves the size.

    ``stem`` is "7x7" (7x7/2 convolution and 3x3/2 max-pool, for images of about 224 pixels) or "3x3" (one
    convolution at full size, for 32 pixels). ``feature_width`` is the length of the penultimate vector.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        n_outs: Sequence[int],
        groups: int = 32,
        stem: str = "7x7",
        stem_width: int = 64,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.depths, self.recompute = tuple(depths), recompute
        self.feature_width = n_outs[-1]
        large = stem == "7x7"
        self.stem = ConvBN(3, stem_width, 7 if large else 3, stride=2 if large else 1)
        self.pool = nn.MaxPool2D(3, stride=2, padding=1) if large else nn.Identity()
        n_in = stem_width
        for i, (depth, width, n_out) in enumerate(zip(depths, widths, n_outs, strict=True)):
            units = []
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                units.append(Unit(n_in, width, n_out, stride=stride, groups=groups))
                n_in = n_out
            setattr(self, f"stage{i + 1}", nn.LayerList(units))
        self.fc = classifier(self.feature_width, n_classes)

    def front(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> maps in front of the last stage, >= 0."""
        x = self.pool(self.stem(x))
        return self.through((unit for i, _, unit in self._units() if i < len(self.depths) - 1), x)

    def rest(self, x: paddle.Tensor) -> paddle.Tensor:
        """What ``front`` gives -> penultimate vectors (B, feature_width), >= 0."""
        x = self.through(self.rest_layers(), x)
        return self.pooled(x).flatten(1)

    def rest_layers(self) -> list[nn.Layer]:
        """The layers of ``rest``: the last stage's units."""
        return list(getattr(self, f"stage{len(self.depths)}"))

    def published_names(self) -> dict[str, str]:
        """State-dict key -> its name in the weights published for Paddle's network of the same widths."""
        names = {}
        for key in self.state_dict():
            name = re.sub(r"^stem\.(conv|bn)", r"\g<1>1", key)
            name = re.sub(r"^stage(.*)\.conv(\d)\.(conv|bn)", r"layer\1.\3\2", name)
            name = re.sub(r"^stage(.*)\.shortcut\.conv", r"layer\1.downsample.0", name)
            names[key] = re.sub(r"^stage(.*)\.shortcut\.bn", r"layer\1.downsample.1", name)
        return names

    def _units(self) -> Iterator[tuple[int, int, Unit]]:
        """Every unit with its stage and its place there, both counted from 0."""
        for i in range(len(self.depths)):
            for j, unit in enumerate(getattr(self, f"stage{i + 1}")):
                yield i, j, unit


class ReleasedResNeXt(ResNeXt):
    """A network of the 2018 release: the same, and the names its checkpoint files have."""

    def __init__(self, n_classes: int, depths: Sequence[int], *, recompute: bool = False) -> None:
        widths = (256, 512, 1024, 2048)  # outside and inside a unit: no expansion
        super().__init__(n_classes, depths=depths, widths=widths, n_outs=widths, recompute=recompute)

    def release_names(self) -> dict[str, str]:
        """State-dict key -> variable name (= file name) in the release's persistables folder."""
        names = {"fc.weight": "fc_weights", "fc.bias": "fc_offset"}
        names.update(_conv_bn_names("stem", "_conv1"))
        branches = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}
        for i, j, unit in self._units():
            # Units are lettered, but the long stage 4 of the 101 and 152 networks counts: a, b1, b2 ...
            counted = i == 2 and self.depths[i] > 6 and j > 0
            name = f"{i + 2}b{j}" if counted else f"{i + 2}{chr(ord('a') + j)}"
            for part, branch in branches.items():
                if getattr(unit, part) is not None:
                    names.update(_conv_bn_names(f"stage{i + 1}.{j}.{part}", f"{name}_branch{branch}"))
        return names


def _conv_bn_names(key: str, name: str) -> dict[str, str]:
    """The five variables of one ConvBN."""
    return {
        f"{key}.conv.weight": f"res{name}_weights",
        f"{key}.bn.weight": f"bn{name}_scale",
        f"{key}.bn.bias": f"bn{name}_offset",
        f"{key}.bn._mean": f"bn{name}_mean",
        f"{key}.bn._variance": f"bn{name}_variance",
    }


_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _standard(n_classes: int, layers: int, recompute: bool, groups: int = 32) -> ResNeXt:
    widths = [4 * groups * 2**stage for stage in range(4)]  # groups of 4 channels, doubled a stage
    n_outs, depths = (256, 512, 1024, 2048), _DEPTHS[layers]
    return ResNeXt(n_classes, depths=depths, widths=widths, n_outs=n_outs, groups=groups, recompute=recompute)


def ResNeXt50_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> ReleasedResNeXt:
    """The release's 50-layer network (the width of 32x8d)."""
    return ReleasedResNeXt(n_classes, _DEPTHS[50], recompute=recompute)


def ResNeXt101_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> ReleasedResNeXt:
    """The release's 101-layer network (the width of 32x8d), the one its checkpoint holds."""
    return ReleasedResNeXt(n_classes, _DEPTHS[101], recompute=recompute)


def ResNeXt152_32x4d(n_classes: int = 1000, *, recompute: bool = False) -> ReleasedResNeXt:
    """The release's 152-layer network (the width of 32x8d)."""
    return ReleasedResNeXt(n_classes, _DEPTHS[152], recompute=recompute)


def ResNeXt50_32x4d_standard(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """ResNeXt-50 (32x4d) of the paper."""
    return _standard(n_classes, 50, recompute)


def ResNeXt101_32x4d_standard(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """ResNeXt-101 (32x4d) of the paper."""
    return _standard(n_classes, 101, recompute)


def ResNeXt152_32x4d_standard(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """The 152-layer network at the paper's 32x4d width."""
    return _standard(n_classes, 152, recompute)


def ResNeXt50_64x4d(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """ResNeXt-50 with 64 groups of 4 channels."""
    return _standard(n_classes, 50, recompute, groups=64)


def ResNeXt101_64x4d(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """ResNeXt-101 (64x4d), the paper's largest."""
    return _standard(n_classes, 101, recompute, groups=64)


def ResNeXt_small32(n_classes: int = 1000, *, recompute: bool = False) -> ResNeXt:
    """For 32-pixel images: 3x3 stem, no max-pool, three stages of grouped units (ours, sized for a CPU)."""
    return ResNeXt(
        n_classes,
        depths=(1, 2, 2),
        widths=(16, 32, 64),
        n_outs=(32, 64, 128),
        groups=4,
        stem="3x3",
        stem_width=16,
        recompute=recompute,
    )
