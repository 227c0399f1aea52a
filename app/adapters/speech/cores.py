"""How many threads can compute at the same time without sharing a core."""

import psutil


def count_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    process_cores = len(psutil.Process().cpu_affinity()) if psutil.LINUX else psutil.cpu_count()
    return max(1, min(process_cores or 1, psutil.cpu_count(logical=False) or 1))
