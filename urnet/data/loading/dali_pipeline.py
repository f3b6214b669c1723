"""nvidia-dali's part: JPEG files decoded, cropped, resized and mirrored, on a card or on the CPU.

Written against dali 2.4. Its CPU operators were run, its GPU operators were not.
"""

from __future__ import annotations

from typing import Any

from urnet.core.checks import InputError

HOW = (
    "`pip install -e '.[dali]'` brings it for CUDA 12 (nvidia-dali-cuda130 is the package for CUDA 13); "
    "-o data.decoder=opencv decodes on the cores"
)


def require_dali() -> None:
    """Raise InputError where nvidia-dali cannot be used."""
    try:
        import nvidia.dali.fn as fn

        known = hasattr(fn.decoders, "image_slice")
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and str(error.name).startswith("nvidia")
        why = "is not installed" if missing else f"cannot be imported ({' '.join(str(error).split())})"
        raise InputError(f"data.decoder: dali: nvidia-dali {why}; {HOW}") from None
    if not known:
        raise InputError(f"data.decoder: dali: this nvidia-dali lacks fn.decoders.image_slice; {HOW}")


def build_pipeline(size: int, batch_size: int, threads: int, device_id: int | None) -> Any:
    """dali's pipeline of at most ``batch_size`` JPEGs a run, uint8 (b, size, size, 3); ``device_id`` None: on the CPU.

    Its inputs have an array a file: ``encoded`` uint8 (bytes,), ``box`` int32 (4,), ``low_pass`` and ``flip`` int32 ().
    Resizing is linear as OpenCV's, and where ``low_pass`` says so behind a filter that leaves no aliasing.
    """
    from nvidia.dali import fn, pipeline_def, types

    device = "cpu" if device_id is None else "mixed"

    @pipeline_def(enable_conditionals=True)
    def views() -> Any:
        """A batch of views, of what the four inputs were fed."""
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        box = fn.external_source(name="box", dtype=types.INT32, ndim=1)
        low_pass = fn.external_source(name="low_pass", dtype=types.INT32, ndim=0)
        flip = fn.external_source(name="flip", dtype=types.INT32, ndim=0)
        image = fn.decoders.image_slice(
            encoded,
            start=box[0:2],
            shape=box[2:4],
            axis_names="HW",
            device=device,
            output_type=types.RGB,
            adjust_orientation=False,
            jpeg_fancy_upsampling=True,  # as libjpeg
        )
        if low_pass > 0:
            image = fn.resize(image, size=[size, size], antialias=True)
        else:
            image = fn.resize(image, size=[size, size], antialias=False)
        return fn.flip(image, horizontal=flip)

    pipeline = views(batch_size=batch_size, num_threads=threads, device_id=device_id, prefetch_queue_depth=1)
    pipeline.build()
    return pipeline


def reason_of(error: Exception) -> str:
    """What went wrong, of dali's many lines about it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after = [i + 1 for i, line in enumerate(lines) if line.startswith("encountered")]
    return lines[after[0]] if after and after[0] < len(lines) else lines[0] if lines else type(error).__name__
