"""Inception-v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture") of Paddle's vision library.

Three things to know of Paddle's network, which this one keeps in evaluation, bit for bit:

- Batch norm's epsilon is 1e-5, and that is what the weights published for Paddle's network need. The authors
  (and TensorFlow's weights) have 0.001: such weights would come out slightly wrong here.
- Its dropout multiplies by 1 - 0.2 in evaluation. Ours multiplies by 0.8 in training too, in the dropout's
  place: the same expectation without the noise.
- It has no auxiliary head. Published weights are read as they are (``published_names``); the head then keeps
  the values it has.
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.vision.models import inceptionv3

from .blocks import ConvBN, FromFeatures, check_size, classifier
from .layout import Layout, forward_instead

# Of each kind of Paddle's blocks the branches: layers one after another, "+" where the last ones lie side by side.
_BRANCHES = {
    inceptionv3.InceptionA: (
        "branch1x1",
        "branch5x5_1 branch5x5_2",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        "branch_pool branch_pool_conv",
    ),
    inceptionv3.InceptionB: ("branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "branch_pool"),
    inceptionv3.InceptionC: (
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
        "branch_pool branch_pool_conv",
    ),
    inceptionv3.InceptionD: (
        "branch3x3_1 branch3x3_2",
        "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        "branch_pool",
    ),
    inceptionv3.InceptionE: (
        "branch1x1",
        "branch3x3_1 branch3x3_2a+branch3x3_2b",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
        "branch_pool branch_pool_conv",
    ),
}
N_GRID_BLOCKS = 8  # three at 35x35, the reduction, four at 17x17; then a reduction and two at 8x8


class AuxiliaryHead(Layout, nn.Layer):
    """Logits from the 17x17 grid: 5x5 average pool of stride 3, 1x1 to 128, 5x5 to 768, classifier.

    Smaller images than 299 pixels leave less than the 5x5 that the last convolution needs (224: 3x3). Then
    zeros are put around it, which is to use the middle of the kernel only, and a grid smaller than the pool
    is pooled whole (ours).
    """

    def __init__(self, n_in: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(n_in, 128, 1)
        self.conv2 = ConvBN(128, 768, 5, padding=0)
        self.classifier = classifier(768, n_classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The grid (B, n_in, h, w), any h and w -> logits (B, n_classes)."""
        layout = self.data_format
        x = nn.functional.avg_pool2d(x, [min(5, side) for side in self.sides(x)], stride=3, data_format=layout)
        x = self.conv1(x)
        rows, columns = (max(0, 5 - side) for side in self.sides(x))
        border = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        x = self.conv2(nn.functional.pad(x, border, data_format=layout))
        return self.classifier(self.pooled(x).flatten(1))


class InceptionV3(FromFeatures, inceptionv3.InceptionV3):
    """Paddle's network, and what ours have besides: features, recomputation and the auxiliary head.

    In training ``forward`` returns (logits, auxiliary logits): the loss is that of the former plus
    ``auxiliary_weight`` times that of the latter (0.4, as in the authors' training code). Images are 75 or
    more pixels high and wide; the paper's have 299. ``feature_width``: length of the penultimate vector.
    """

    auxiliary_weight = 0.4
    least_size = 75

    def __init__(self, n_classes: int = 1000, *, recompute: bool = False) -> None:
        super().__init__(num_classes=n_classes)
        self.recompute, self.feature_width = recompute, self.fc.weight.shape[0]
        self.auxiliary = AuxiliaryHead(768, n_classes)
        for block in self.inception_block_list:
            forward_instead(block, self._block)

    def published_names(self) -> dict[str, str]:
        """State-dict key -> its name in the weights published for Paddle's: all keys but ``auxiliary.``."""
        return {key: key for key in self.state_dict() if not key.startswith("auxiliary.")}

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Images (B, 3, H, W) float32, normalised -> penultimate vectors (B, feature_width), >= 0."""
        return self._pooled(self._grid(x))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """Images (B, 3, H, W) float32, normalised -> logits (B, n_classes); in training a pair of them."""
        grid = self._grid(x)
        if not self.training:
            return self.fc(self._pooled(grid))
        auxiliary = self.auxiliary(grid)
        return self.fc(self._pooled(grid)), auxiliary

    def _block(self, block: nn.Layer, x: paddle.Tensor) -> paddle.Tensor:
        """What Paddle's block computes, in either layout."""
        return self.joined([self._branch(block, names, x) for names in _BRANCHES[type(block)]])

    def _branch(self, block: nn.Layer, names: str, x: paddle.Tensor) -> paddle.Tensor:
        for step in names.split():
            ends = [getattr(block, name)(x) for name in step.split("+")]
            x = ends[0] if len(ends) == 1 else self.joined(ends)
        return x

    def _grid(self, x: paddle.Tensor) -> paddle.Tensor:
        check_size(self.sides(x), self.least_size)
        return self.through(self.inception_block_list[:N_GRID_BLOCKS], self.inception_stem(x))

    def _pooled(self, grid: paddle.Tensor) -> paddle.Tensor:
        x = self.through(self.inception_block_list[N_GRID_BLOCKS:], grid)
        x = self.avg_pool(x).flatten(1)
        return nn.functional.dropout(x, self.dropout.p, training=False, mode=self.dropout.mode)
