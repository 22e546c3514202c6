"""Networks in ONNX on the CPU, one thread each."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_session(path: Path) -> Any:
    """Return an onnxruntime.InferenceSession of one thread. Raises ValueError if ONNX Runtime is missing."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("ONNX Runtime is not installed; run `pip install onnxruntime==1.31.1`") from None
    options = onnxruntime.SessionOptions()
    # Threads go over images or jobs, not into one image: inside one they cost 40 % more processor time, and what is
    # computed would depend on how many cores the machine has.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
