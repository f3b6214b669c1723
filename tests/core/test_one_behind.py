"""The next item is made before the last one is given out; none is lost by an error."""

import pytest

from urnet.core.one_behind import one_behind


def made(n, said, error=None):
    for k in range(n):
        said.append(f"made {k}")
        yield k
    if error is not None:
        raise error


@pytest.mark.parametrize("n", [0, 1, 4])
def test_every_item_comes_once_and_behind_the_next(n):
    said: list[str] = []
    for k in one_behind(made(n, said)):
        said.append(f"used {k}")
    assert [word for word in said if word.startswith("used")] == [f"used {k}" for k in range(n)]
    for k in range(n - 1):
        assert said.index(f"made {k + 1}") < said.index(f"used {k}")
        if k + 2 < n:
            assert said.index(f"used {k}") < said.index(f"made {k + 2}")  # one ahead, no more


def test_an_error_comes_after_the_item_before_it():
    found = []
    with pytest.raises(ValueError, match="third"):
        for k in one_behind(made(2, [], ValueError("third"))):
            found.append(k)
    assert found == [0, 1]


def test_the_source_is_closed_with_it():
    closed = []

    def source():
        try:
            yield from range(9)
        finally:
            closed.append(True)

    items = one_behind(source())
    next(items)
    items.close()
    assert closed == [True]
