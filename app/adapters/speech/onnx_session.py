"""Opens graphs on ONNX Runtime."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

# Environment variable that the runtime reads when it opens a graph. Its default attention is meant
# for long contexts and, where it takes one token, compiled for the oldest processors: as of version
# 1.32 it is half as fast as the matrix products that this switch brings back.
ATTENTION_SWITCH: Final = "ORT_GQA_DISABLE_FLASH_ATTENTION"

PROVIDERS: Final = ["CPUExecutionProvider"]

# The runtime reports to its maker which machine runs which model, unless this is set when it is
# imported. Nothing of what happens here is anybody's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 - written for the runtime


def open_session(path: Path, num_threads: int, *, keeps_memory: bool = True) -> Any:
    """An inference session on the CPU.

    `keeps_memory` keeps the memory of the largest calls for the next ones.
    """
    import onnxruntime

    options = _options(num_threads)
    options.enable_cpu_mem_arena = keeps_memory
    # Shapes differ from call to call; a plan of memory for each of them would only add up.
    options.enable_mem_pattern = False
    # Threads of a session that has just run would spin on the cores that the other one needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


def save_packed(path: Path, packed_path: Path) -> None:
    """Write a graph with its weights as products on this processor read them.

    They go to `packed_path` + ".data". All sessions over that map it: they have the weights in
    memory once, also those of other processes. Raises OSError if it cannot be written.
    """
    import onnxruntime

    options = _options(num_threads=1)
    options.optimized_model_filepath = str(packed_path)
    for key, value in (
        ("optimized_model_external_initializers_file_name", f"{packed_path.name}.data"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{key}", value)
    try:
        onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)
    except Exception as error:  # of a full disk it only says that a file cannot be written
        free = shutil.disk_usage(path.parent).free // 1_000_000
        reason = f"{packed_path.name} cannot be written ({free} MB are free): {error}"
        raise OSError(reason) from error


def _options(num_threads: int) -> Any:
    import onnxruntime

    os.environ.setdefault(ATTENTION_SWITCH, "1")  # noqa: TID251 - written for the runtime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors
    return options
