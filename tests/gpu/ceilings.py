#!/usr/bin/env python3
"""What this GPU reaches in a plain copy and a plain product, by PyTorch: one JSON record.

    ceilings.py cuda|cpu [--tiny]
"""

import json
import sys
import time

import torch


def seconds(work, device: str, repeats: int) -> float:
    """The mean time of `work`, after a warm-up; events on a GPU, so the queue's time does not count."""
    for _ in range(3):
        work()
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - start) / repeats
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def main() -> None:
    device, tiny = sys.argv[1], "--tiny" in sys.argv
    # Larger than any L2; of the product the size that is the usual measure of a GPU.
    elements, size = (1 << 20, 256) if tiny else (1 << 28, 8192)
    a = torch.randn(elements, device=device, dtype=torch.bfloat16)
    b = torch.empty_like(a)
    copy = seconds(lambda: b.copy_(a), device, 20)
    x, y = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds(lambda: x @ y, device, 3 if tiny else 20)
    record = {
        "step": "ceilings",
        "torch": torch.__version__,
        "copy_bytes_per_second": 4 * elements / copy,
        "product_flops": 2 * size**3 / product,
    }
    if device == "cuda":
        record["cuda"], record["gpu"] = torch.version.cuda, torch.cuda.get_device_name()
        record["cudnn"] = torch.backends.cudnn.version()
    print(json.dumps(record))


if __name__ == "__main__":
    main()
