"""One process of several under the launcher: how long the exchange of a vector takes. ``exchange.py DEVICE MB``."""

from __future__ import annotations

import sys
import time

from urnet.runtime.threads import import_paddle

TIMES = 10


def main(device: str, megabytes: int) -> None:
    """Process 0 prints the time of an all-reduce, and what passes its links a second (2 (n - 1) / n of the bytes)."""
    import_paddle()
    import paddle

    from urnet.runtime.device_to_host import device_done
    from urnet.runtime.precision import choose_device
    from urnet.runtime.process_group import open_process_group

    with open_process_group(choose_device(device)) as group:
        vector, start = paddle.ones([megabytes * 250_000]), 0.0
        for call in range(TIMES + 2):
            if call == 2:
                device_done()
                group.barrier()
                start = time.perf_counter()
            group.all_reduce_(vector)
        device_done()
        seconds, first = (time.perf_counter() - start) / TIMES, float(vector[0])
        assert first == float(group.size) ** (TIMES + 2), f"the sum is {first}"
        if group.is_main:
            rate = megabytes / 1e3 * 2 * (group.size - 1) / group.size / seconds
            print(f"{megabytes} MB among {group.size} processes: {1e3 * seconds:.2f} ms, {rate:.1f} GB/s per process")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
