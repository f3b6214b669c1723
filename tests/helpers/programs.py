"""Which layers are made programs (``model.compile``), and how many programs each has become."""

import contextlib

import paddle
import pytest


@contextlib.contextmanager
def programs():
    """A list of all layers that ``paddle.jit.to_static`` is given inside the block."""
    made, plain = [], paddle.jit.to_static

    def noted(layer, **how):
        made.append(layer)
        return plain(layer, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paddle.jit, "to_static", noted)
        yield made


def counts(made):
    """Programs of each layer: one for every shape of a batch, in training and in evaluation."""
    return [len(layer.forward.program_cache._caches) for layer in made]
