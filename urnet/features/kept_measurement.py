"""What a network says of the training images, from features that are kept: only its classifier is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from urnet.core.blocks import blocks
from urnet.core.checks import check_labels, check_same_rows
from urnet.core.top_k import topk
from urnet.data.kept.kept_rows import KeptView
from urnet.runtime.host_to_device import to_tensor

BLOCK = 4096  # rows at a time


@dataclass(frozen=True)
class KeptMeasurement:
    """As ``store.Measurement``: features (N, width), mapped; the k most probable classes, their probabilities, that of
    the given label, and which rows could be read, in memory."""

    features: KeptView
    index: np.ndarray  # int32 (N, k)
    prob: np.ndarray  # float16 (N, k)
    given: np.ndarray  # float32 (N,), nan for a row that is not readable
    readable: np.ndarray  # bool (N,)
    passes: int = 0  # images that passed the network for it: the others' features were kept already


@paddle.no_grad()
def measured(features: KeptView, readable: np.ndarray, labels: np.ndarray, network: Any, k: int) -> KeptMeasurement:
    """The measurement of N rows by ``network``'s ``fc``. Raises FloatingPointError where it is not finite."""
    check_same_rows(features=features, labels=labels)
    index, prob, given = [], [], np.full(len(labels), np.nan, np.float32)
    for part in blocks(len(labels), BLOCK):
        logits = network.fc(to_tensor(features[part].astype(np.float32)))
        found = paddle.nn.functional.softmax(logits.astype("float32")).numpy()
        check_labels(labels[part], found.shape[1])
        good = readable[part]
        own = found[np.arange(len(found)), labels[part]]
        if not np.isfinite(own[good]).all():
            row = part.start + int(np.flatnonzero(good & ~np.isfinite(own))[0])
            raise FloatingPointError(f"row {row}: its probabilities are not finite")
        given[part] = np.where(good, own, np.float32(np.nan))
        classes, best = topk(found, min(k, found.shape[1]))
        index.append(np.where(good[:, None], classes, 0).astype(np.int32))
        prob.append(np.where(good[:, None], best, 0).astype(np.float16))
    return KeptMeasurement(features, np.concatenate(index), np.concatenate(prob), given, readable)
