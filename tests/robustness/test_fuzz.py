"""Damaged files are read right or refused as documented, by every reader of what strangers wrote.

The suite tries the same examples every time; ``--hypothesis-profile long`` (conftest.py) tries new ones.
"""

from __future__ import annotations

import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.damage import damaged
from tests.helpers.fuzzed_readers import READERS

MOST_MIB = 128


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_and_random_bytes_are_read_right_or_refused(name, tmp_path):
    reader, file = READERS[name], tmp_path / "file"
    files = reader.seeds()

    def check(data):
        file.write_bytes(data)  # which stays there if the process dies
        reader.check(data, file)

    assert len(files) >= 2
    for data in files:  # real ones; and whatever libraries keep is kept now
        check(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings(max_examples=max(1, settings().max_examples // 5))(given(st.binary(max_size=200))(check))()
    given(damaged(files))(check)()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MOST_MIB << 10
