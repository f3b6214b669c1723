"""The README.txt of an exported folder: what goes in, what comes out, and a few lines of Python."""

from __future__ import annotations

from collections.abc import Sequence

from urnet.data.images.transforms import MAX_ASPECT
from urnet.inference.signature import Signature

TEXT = """\
{model}, {n_classes} classes, exported by URNet.

In:   uint8 RGB images, resized, (batch, {size}, {size}, 3). Normalisation and softmax are inside.
      Resize, bilinear: {rule}
      EXIF orientation: {exif}
Out:  float32 probabilities, (batch, {n_classes}); {columns}
{fits}Files: {files}
      signature.json says all this to programs, with every file's SHA-256.

Python, with {packages}:

{code}"""
FILES = {"paddle": "model.json and model.pdiparams (Paddle 3)", "onnx": "model.onnx (any runtime of ONNX)"}
PACKAGES = {"paddle": "paddlepaddle", "onnx": "onnxruntime"}
READ = """\
image = cv2.imread("IMAGE.jpg", cv2.IMREAD_COLOR{flag})  # uint8, BGR
image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
"""
RESIZE = {
    "straight": """\
image = cv2.resize(image, ({size}, {size}))
""",
    "short": """\
height, width = image.shape[:2]
scale = {short} / min(height, width)
height, width = round(height * scale), round(width * scale)
image = cv2.resize(image, (width, height))
top, left = (height - {size}) // 2, (width - {size}) // 2
image = image[top : top + {size}, left : left + {size}]
""",
}
IN_CLASSES = """\
      Then float32 in_classes, (batch), 0..1: below 0.5 an image probably fits none of the classes.
"""
RUN = {
    "paddle": """\
config = Config("model.json", "model.pdiparams")
config.disable_gpu()
predictor = create_predictor(config)
predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(images)
predictor.run()
outputs = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
probabilities = outputs[0]
""",
    "onnx": """\
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
outputs = session.run(None, {"images": images})
probabilities = outputs[0]
""",
}
NAMES = """\
names = open("classes.txt", encoding="utf-8").read().split("\\n")
print(names[probabilities[0].argmax()], probabilities[0].max())
"""
FITS = """\
in_classes = outputs[1]
print("probably none of the classes" if in_classes[0] < 0.5 else "fits the classes", in_classes[0])
"""
IMPORTS = {"paddle": "from paddle.inference import Config, create_predictor\n", "onnx": "import onnxruntime\n"}


def readme(signature: Signature, formats: Sequence[str]) -> str:
    """The text for ``formats`` ("paddle", "onnx"); its indented lines run as they stand, next to the model."""
    size, short = signature.size, signature.transform.resize_short
    rules = {
        "straight": f"straight to {size} x {size}, aspect not kept",
        "short": f"short side to {short}, then the centre {size} x {size}; of an image longer than"
        f"\n      {MAX_ASPECT}:1 only the middle {MAX_ASPECT}:1 is taken",
    }
    first = formats[0]
    flag = "" if signature.exif == "honour" else " | cv2.IMREAD_IGNORE_ORIENTATION"
    code = "import cv2\nimport numpy as np\n" + IMPORTS[first] + "\n" + READ.format(flag=flag)
    code += RESIZE[signature.transform.eval].format(size=size, short=short)
    code += "images = np.ascontiguousarray(image[None])\n" + RUN[first]
    code += (NAMES if signature.class_names else "") + (FITS if signature.in_classes else "")
    lines = "column i is line i of classes.txt, both from 0" if signature.class_names else "no names"
    return TEXT.format(
        model=signature.model,
        n_classes=signature.n_classes,
        size=size,
        rule=rules[signature.transform.eval],
        exif="turned as it says" if signature.exif == "honour" else "not looked at",
        columns=lines,
        fits=IN_CLASSES if signature.in_classes else "",
        files=", ".join(FILES[name] for name in formats),
        packages=f"numpy, opencv-python-headless and {PACKAGES[first]}",
        code="".join(f"    {line}" if line.strip() else line for line in code.splitlines(keepends=True)),
    )
