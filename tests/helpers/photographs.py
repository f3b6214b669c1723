"""Real photographs that come with scikit-learn and scikit-image, and what ImageNet's classes have for them."""

from importlib.util import find_spec
from pathlib import Path

PHOTOGRAPHS = {  # file -> classes that are right; those in which no class of ImageNet is shown are not among them
    "sklearn/datasets/images/china.jpg": {"palace"},  # a pavilion of the Summer Palace
    "sklearn/datasets/images/flower.jpg": {"daisy"},  # a dahlia, of the daisy family
    "skimage/data/camera.png": {"tripod"},  # grey
    "skimage/data/chelsea.png": {"tiger cat", "tabby", "Egyptian cat"},
    "skimage/data/coffee.png": {"espresso", "cup", "coffee mug"},
    "skimage/data/motorcycle_left.png": {"moped", "motor scooter"},
    "skimage/data/rocket.jpg": {"missile", "projectile"},
}


def photograph(file: str) -> Path | None:
    """The file of an installed package, which is not imported; None where it is not installed."""
    package, _, inside = file.partition("/")
    found = find_spec(package)
    return found and Path(next(iter(found.submodule_search_locations))) / inside
