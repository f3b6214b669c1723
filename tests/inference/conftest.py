"""One set of images, network and checkpoint for all tests of this folder, which only read it."""

import pytest

from tests.helpers.predict import Toys


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))
