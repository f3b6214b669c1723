"""Kept activations as batches: which view a row is shown in, rows that cannot be read, arrays that are mapped."""

import hashlib
import pickle

import cv2
import numpy as np
import pytest

from tests.helpers.judged_pictures import picture, write
from urnet.config.recipe import Transform
from urnet.data.images.transforms import eval_transform
from urnet.data.kept.kept_features import KeptFeatures
from urnet.data.kept.kept_rows import KeptLoader, KeptRows, KeptView
from urnet.data.kept.pictures import ABOUT, EVALUATION, PictureSource, View, views_of

N, VIEWS = 40, 3
T = Transform(size=16, eval="short", resize_short=20, scale=(0.3, 1.0), jitter=0.3)


def kept_view(folder, number):
    """Row i of view v has the features i + 100 v and -i; row 7 cannot be read; records lie in another order."""
    rows = np.array([i for i in range(N) if i != 7])[::-1]
    about = np.zeros(len(rows), ABOUT)
    for place, row in enumerate(rows.tolist()):
        about["content"][place] = np.frombuffer(hashlib.sha256(b"%d" % row).digest(), np.uint8)
    file = KeptFeatures(folder / f"kept{number}", {"view": number})
    file.add(about, np.stack([rows + 100 * number, -rows], axis=1).astype(np.float16))
    file.close()
    file = KeptFeatures(folder / f"kept{number}", {"view": number})
    return KeptView(file, np.array([file.row(hashlib.sha256(b"%d" % i).digest()) for i in range(N)]), (2,))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    return KeptRows([kept_view(folder, v) for v in range(VIEWS)], {7: "cut off"}, lambda row: f"{row}.jpg", seed=5)


def test_a_view_is_asked_as_an_array_is(kept):
    expected = np.stack([np.arange(N), -np.arange(N)], axis=1).astype(np.float16)
    expected[7] = 0
    view = kept.views[0]
    for key in (slice(3, 11), [5, 2, 2, 39], np.arange(N) % 3 == 0, slice(0, 0)):
        np.testing.assert_array_equal(view[key], expected[key])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(view))[key], expected[key])
    np.testing.assert_array_equal(view[4], expected[4])
    np.testing.assert_array_equal(view.part(5, 10)[:], expected[5:10])
    assert view.shape == (N, 2) and len(view) == N and view.readable.sum() == N - 1
    with pytest.raises(TypeError, match=r"give rows, or \[:\]"):
        np.asarray(view)


def test_the_view_of_a_row_depends_on_seed_draw_and_row_alone(kept):
    rows = np.arange(N)
    shown = lambda draw, rows=rows, kept=kept: kept.batch(rows, draw).images[:, 0] // 100  # noqa: E731
    np.testing.assert_array_equal(kept.batch(rows).images, kept.views[0][:])
    np.testing.assert_array_equal(shown(3)[::-1], shown(3, rows[::-1]))
    np.testing.assert_array_equal(shown(3)[10:20], shown(3, rows[10:20]))
    other = KeptRows(kept.views, kept.reasons, kept.path_of, seed=6)
    assert (shown(3) != shown(4)).any() and (shown(3) != shown(3, kept=other)).any()
    counts = np.bincount(np.concatenate([shown(draw) for draw in range(100)]).astype(int), minlength=VIEWS)
    assert counts.min() > 0.9 * 100 * N / VIEWS


def test_a_loader_gives_batches_and_says_what_cannot_be_read(kept):
    loader = KeptLoader(kept, [(9, np.array([6, 7])), (9, np.array([8]))], random=True)
    first, second = loader
    np.testing.assert_array_equal(first.readable, [True, False])
    assert loader.bad == {7: ("7.jpg", "cut off")} and second.readable.all()
    assert not first.images[1].any() and first.images.dtype == np.float16


def test_views_of_a_picture(tmp_path):
    assert views_of(1, T, 3) == [EVALUATION]
    assert views_of(4, T, 3) == [EVALUATION, View(mirrored=True), View(draw=0, seed=3), View(draw=1, seed=3)]
    assert views_of(2, Transform(flip=False), 3) == [EVALUATION, View(draw=0, seed=3)]
    identities = [str(view.identity(T)) for view in views_of(4, T, 3)]
    assert len(set(identities)) == 4 and View(draw=0, seed=3).identity(Transform(jitter=0.1)) != identities[2]
    more = (T, Transform(trivial_augment=True), Transform(erasing=0.2), Transform(erasing=0.3))
    assert len({str(View(draw=0).identity(t)) for t in more}) == 4
    assert View(draw=0).identity(T).keys() == {"draw", "random"}  # files that were kept before there were these keys
    assert not any(EVALUATION.identity(t) for t in more)
    write(tmp_path / "a.png", picture("red", 1))
    write(tmp_path / "b.png", picture("red", 1))

    def view(shown, name="a", row=0):
        source = PictureSource([], T, exif="honour", max_pixels=10**6, shown=shown)
        made, reason = source.view(str(tmp_path / f"{name}.png"), row, 0)
        assert reason == ""
        return source.split(made[None]).views[0]

    image = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
    plain = eval_transform(image, T)
    np.testing.assert_array_equal(view(EVALUATION), plain)
    np.testing.assert_array_equal(view(View(mirrored=True)), plain[:, ::-1])
    random = View(draw=0, seed=3)
    np.testing.assert_array_equal(view(random), view(random, "b", row=5))  # the same picture, wherever it stands
    assert (view(random) != view(View(draw=1, seed=3))).any() and (view(random) != view(View(draw=0, seed=4))).any()
