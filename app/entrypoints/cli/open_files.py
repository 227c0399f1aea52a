"""How many files, and so connections, the process may have open."""

import sys


def raise_open_files_limit(wanted: int) -> int:
    """Ask the system for `wanted` open files, as far as it lets us; how many there may be now."""
    if sys.platform == "win32":
        return wanted  # sockets are not files there
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_enough = soft == resource.RLIM_INFINITY or soft >= wanted
    if is_enough:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
