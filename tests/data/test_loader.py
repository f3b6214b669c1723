"""Image source and loader: what randomness depends on; the same bytes for any number of workers."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.image_sources import TRANSFORM, make, make_files
from urnet.core.checks import InputError
from urnet.data.images.decode import read_image
from urnet.data.images.transforms import eval_transform, train_transform
from urnet.data.images.views import of_kind
from urnet.data.loading.loader import ImageSource, Loader, RowRandom

WORKERS = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))


def jobs(n_batches=6, size=19, draw=100):
    rng = np.random.default_rng(0)
    return [(draw + b, rng.integers(0, 40, size)) for b in range(n_batches)]


def everything(loader):
    batches = list(loader)
    return [np.concatenate([getattr(b, name) for b in batches]) for name in ("rows", "images", "readable")]


def test_row_random_is_philox_with_key_seed_draw_and_counter_row():
    random = RowRandom(seed=2**64 - 1)
    for draw, row in [(0, 0), (7, 3), (2**64 - 1, 2**24), (7, 3)]:
        key = np.array([2**64 - 1, draw], np.uint64)
        fresh = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, row, 0, 0], np.uint64)))
        got = random(draw, row)
        assert np.array_equal(got.random(7), fresh.random(7))
        assert np.array_equal(got.integers(0, 5, 3), fresh.integers(0, 5, 3))  # half-used words and all


def test_row_random_begins_anew_whatever_was_drawn_before():
    random = RowRandom(1)
    first = random(2, 3).random(4)
    random(2, 4).integers(0, 3, 5, dtype=np.int32)
    assert np.array_equal(random(2, 3).random(4), first)
    streams = [random(draw, row).random() for draw in range(30) for row in range(30)]
    streams += [RowRandom(seed)(0, 0).random() for seed in range(2, 30)]
    assert len(set(streams)) == len(streams)


def test_a_view_depends_on_seed_draw_and_row_only(files):
    one = make(ImageSource, files)
    view = one(3, 8)[0]
    for row, draw in [(4, 8), (3, 9), (5, 1)]:
        one(row, draw)
    assert np.array_equal(one(3, 8)[0], view)
    assert np.array_equal(make(ImageSource, files)(3, 8)[0], view)
    same_file = ImageSource(lambda row: files[3], TRANSFORM, train=True, seed=5)
    for other in (make(ImageSource, files, seed=6)(3, 8), one(3, 9), same_file(4, 8)):
        assert not np.array_equal(other[0], view)
    expected = train_transform(read_image(files[3]), TRANSFORM, RowRandom(5)(8, 3))
    assert np.array_equal(view, expected)


@WORKERS
def test_several_views_of_a_row_are_drawn_one_after_the_other(files, workers):
    """The first is what a single view would be; all depend on seed, draw and row only; an unreadable row has none."""
    one = everything(Loader(make(ImageSource, files), jobs(2)))
    rows, images, readable = everything(Loader(make(ImageSource, files, train_views=3), jobs(2), workers=workers))
    assert images.shape == (38, 3, 16, 16, 3)
    assert np.array_equal(images[:, 0], one[1]) and np.array_equal(readable, one[2])
    assert not images[~readable].any() and (~readable).any()
    draw, random = np.repeat([100, 101], 19), RowRandom(5)
    for row, key, views in zip(rows[readable], draw[readable], images[readable], strict=True):
        rng, image = random(int(key), int(row)), read_image(files[row])
        for view in views:
            assert np.array_equal(view, train_transform(image, TRANSFORM, rng))
    plain = make(ImageSource, files, train=False, train_views=3)
    assert plain.shape == (16, 16, 3) and plain(3, 0)[0].shape == (16, 16, 3)


def test_the_evaluation_view_has_no_randomness(files):
    source = make(ImageSource, files, train=False)
    image, reason = source(3, 0)
    assert reason == ""
    assert np.array_equal(image, eval_transform(read_image(files[3]), TRANSFORM))
    assert np.array_equal(image, source(3, 99)[0])


def test_the_source_passes_its_settings_on(files):
    image, reason = make(ImageSource, files, max_pixels=1199)(3, 0)
    assert image is None and "40 x 30 pixels; at most 1199" in reason
    assert make(ImageSource, files, max_pixels=1200)(3, 0)[1] == ""
    image, reason = make(ImageSource, files)(23, 0)
    assert image is None and "No such file" in reason


def test_a_weak_view_is_cropped_and_flipped_a_strong_one_is_changed_further(files):
    kinds = ("weak", "strong", "own", "weak")
    source = make(ImageSource, files, train_views=kinds)
    assert source.shape == (4, 16, 16, 3)
    image, rng = read_image(files[3]), RowRandom(5)(8, 3)
    weak, strong = (
        dataclasses.replace(TRANSFORM, trivial_augment=on, erasing=p) for on, p in ((False, 0.0), (True, 0.5))
    )
    want = [train_transform(image, transform, rng) for transform in (weak, strong, TRANSFORM, weak)]
    assert np.array_equal(source(3, 8)[0], np.stack(want))
    assert of_kind(dataclasses.replace(TRANSFORM, erasing=0.7), "strong").erasing == 0.7
    assert np.array_equal(make(ImageSource, files, train_views=("own",))(3, 8)[0], make(ImageSource, files)(3, 8)[0])


@pytest.mark.parametrize(("workers", "prefetch"), [(0, 2), (1, 1), (3, 9)])
def test_batches_are_what_the_source_makes_in_order(files, workers, prefetch):
    source = make(ImageSource, files)
    loader = Loader(source, jobs(), workers=workers, prefetch=prefetch)
    batches = list(loader)
    assert len(batches) == 6
    for batch, (draw, rows) in zip(batches, jobs(), strict=True):
        assert [a.dtype for a in (batch.rows, batch.images, batch.readable)] == [np.int64, np.uint8, bool]
        assert np.array_equal(batch.rows, rows)
        assert batch.images.shape == (19, 16, 16, 3)
        assert np.array_equal(batch.readable, ~np.isin(rows, [7, 23]))
        for image, row, readable in zip(batch.images, rows.tolist(), batch.readable, strict=True):
            expected = source(row, draw)[0]
            assert np.array_equal(image, expected if readable else np.zeros((16, 16, 3), np.uint8))
    assert set(loader.bad) == {7, 23} & set(np.concatenate([rows for _, rows in jobs()]).tolist())
    assert loader.bad[7] == (files[7], "the JPEG file is cut off")
    assert loader.bad[23] == (files[23], "cannot be read (No such file or directory)")


@WORKERS
def test_batches_of_any_size_among_them_empty_ones(files, workers):
    sizes = [3, 0, 200, 1, 0, 40, 8, 16, 7]
    plan = [(0, np.arange(size) % 40) for size in sizes]
    got = [batch for batch in Loader(make(ImageSource, files), plan, workers=workers)]  # noqa: C416
    assert [len(batch.rows) for batch in got] == sizes
    assert [batch.images.shape for batch in got] == [(size, 16, 16, 3) for size in sizes]
    assert list(Loader(make(ImageSource, files), [], workers=workers)) == []


@WORKERS
def test_epoch_after_epoch_from_one_loader(files, workers):
    loader = Loader(make(ImageSource, files), jobs(3), workers=workers)
    one, two = everything(loader), everything(loader)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    once = Loader(make(ImageSource, files), iter(jobs(3)), workers=workers)
    everything(once)
    with pytest.raises(RuntimeError, match="one epoch"):
        everything(once)


@WORKERS
def test_a_consumer_may_keep_its_batches(files, workers):
    """A batch is the consumer's own: later batches do not write over it."""
    loader = Loader(make(ImageSource, files), [(0, np.full(8, row)) for row in range(6)], workers=workers, prefetch=1)
    kept = list(loader)
    for row, batch in enumerate(kept):
        assert np.array_equal(batch.images[5], make(ImageSource, files)(row, 0)[0])
        batch.images[:] = 0
        assert batch.images.flags.owndata


@pytest.mark.parametrize("options", [{"workers": -1}, {"prefetch": 0}])
def test_impossible_settings_are_bad_input(files, options):
    with pytest.raises(InputError, match="workers"):
        Loader(make(ImageSource, files), jobs(), **options)
