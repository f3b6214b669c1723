"""The words and numbers that flags, recipes and exported models share."""

from __future__ import annotations

SIZES = range(8, 2049)  # sides of a network's images in pixels
ENGINES = ("auto", "inference", "dygraph")
CPU_PRECISIONS = ("fp32", "bf16")
PRECISIONS = (*CPU_PRECISIONS, "fp16")
RESIZES = ("straight", "short")
CROPS = (1, 5, 10, 144)  # views of an image at test time
LARGEST_SCALE = 8192  # pixels of the short side that views are cut from
CLASSIFIERS = ("fc.", "auxiliary.classifier.")  # how the names of a network's last layers begin
