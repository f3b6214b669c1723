"""Damaged files at every door where bytes of others come in are read right or refused as documented.

Real files are edited: bytes flipped, overwritten with numbers that are often mistaken, cut, deleted,
repeated, spliced. The same examples every time; tools/fuzz.py tries new ones for as long as one likes.
"""

from __future__ import annotations

import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.fuzz import DOORS as NAMES
from tools.fuzz_doors import DOORS
from tools.fuzz_edits import KINDS, VALUES, edit

EXAMPLES = {"images": 600, "lists": 150, "recipes": 80}  # what a second or two is enough for
MOST_MIB = 64


@st.composite
def edited(draw, seeds):
    """One of the seeds after one to five edits."""
    data = draw(st.sampled_from(seeds))
    values = st.one_of(st.sampled_from(VALUES), st.binary(min_size=1, max_size=9))
    edits = st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 20), st.integers(1, 64), values)
    for kind, at, length, value in draw(st.lists(edits, min_size=1, max_size=5)):
        data = edit(data, kind, at, length, value, draw(st.sampled_from(seeds)))
    return data


def test_every_door_has_real_files_to_start_from(tmp_path):
    assert tuple(DOORS) == NAMES
    for name, door in DOORS.items():
        assert len(door.seeds()) >= 2
        for data in door.seeds():
            door.check(data, tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_right_or_refused(name, tmp_path):
    door = DOORS[name]
    seeds = door.seeds()
    for data in seeds:  # whatever libraries keep is kept now
        door.check(data, tmp_path / "file")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=EXAMPLES.get(name, 300),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(edited(seeds))
    def check(data):
        door.check(data, tmp_path / "file")

    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MOST_MIB << 10


@pytest.mark.parametrize("name", NAMES)
def test_random_bytes_are_refused(name, tmp_path):
    door = DOORS[name]

    @settings(max_examples=60, derandomize=True, database=None, deadline=None)
    @given(st.binary(max_size=200))
    def check(data):
        door.check(data, tmp_path / "file")

    check()
