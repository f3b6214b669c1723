"""Where nvidia-dali is not installed: its documented pipeline, as far as it is used, made of OpenCV on the CPU."""

import cv2
import numpy as np

from urnet.data.images.decode import decode


class Pipeline:
    """``run`` of named inputs, each with an item a file, gives one output; whose pipeline failed, no longer runs."""

    def __init__(self, size, batch_size, threads, device_id, fails=lambda inputs: False):
        assert batch_size > 0 and threads > 0 and device_id is None
        self.size, self.batch_size, self.fails, self.valid = size, batch_size, fails, True

    def run(self, *, encoded, box, low_pass, flip):
        """As nvidia.dali.Pipeline.run: a tuple of the outputs."""
        assert self.valid and 0 < len(encoded) == len(box) == len(low_pass) == len(flip) <= self.batch_size
        self.valid = not self.fails(encoded)
        if not self.valid:
            raise RuntimeError("Critical error in pipeline:\nwhich was used here:\n\nencountered:\n\nit has no sense\n")
        return (Views(self._view(*each) for each in zip(encoded, box, low_pass, flip, strict=True)),)

    def _view(self, data, box, low_pass, flip):
        top, left, height, width = box.tolist()
        image = decode(data.tobytes(), exif="ignore")[top : top + height, left : left + width]
        how = cv2.INTER_AREA if low_pass else cv2.INTER_LINEAR
        view = cv2.resize(image, (self.size, self.size), interpolation=how)
        return view[:, ::-1] if flip else view


class Views(list):
    """A TensorListCPU."""

    def as_tensor(self):
        """What DLPack takes."""
        return np.stack(self)
