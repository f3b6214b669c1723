"""Gated back-propagation (SenseTime and UESTC, WebVision 2018): which rows may teach the network.

Known of it: a gate at the last layer on the confidence of the top-1 prediction; rows under the gate pass no
gradient; the gate is set by hand and lowered to 0 while training, easy to hard; then a short phase on all
rows at lower rates, convolutions and classifier each with its own. Schedules and agreement are ours.
"""

from __future__ import annotations

from typing import Any

from urnet.core.checks import InputError


def threshold_at(step: int, until: int, *, threshold: float, schedule: str = "linear", levels: int = 4) -> float:
    """The gate at step ``step`` (from 0): ``threshold`` at the first, 0 from step ``until`` on.

    ``linear``: threshold (1 - step / until). ``step``: threshold (1 - floor(levels step / until) / levels),
    ``levels`` equal stretches. ``until`` >= 1. Raises InputError for an unknown schedule.
    """
    if step >= until:
        return 0.0
    if schedule == "linear":
        return threshold * (1 - step / until)
    if schedule == "step":
        return threshold * (1 - levels * step // until / levels)
    raise InputError(f"gate.schedule: found {schedule!r}; accepted: linear, step")


def open_rows(confidence: Any, threshold: float, agrees: Any | None = None) -> Any:
    """Whether each row passes its gradient: (B,) bool, of the kind of ``confidence``, array or tensor.

    ``confidence`` (B,): the largest probability of each row; a row is open where it is >= ``threshold``.
    ``agrees`` (B,) bool: where given, a row is open only if its top-1 class is also its label. A threshold of
    0 is no gate: all rows are open, whether they agree or not.
    """
    passed = confidence >= threshold
    return passed if agrees is None or threshold <= 0 else passed & agrees
