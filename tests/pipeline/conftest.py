"""What the tests of this folder share."""

import pytest

from tests.helpers.tiny_training import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of small images of three classes and their lists."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder
