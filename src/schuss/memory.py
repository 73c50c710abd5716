"""How much memory there is."""

import os

# Data of more than this share of the free memory are streamed.
FREE_SHARE = 0.5


def machine_memory() -> int:
    """Bytes of memory of the machine; 8 GiB where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def free_memory() -> int:
    """Bytes that the system could give to this process without swapping; 2^40 where unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 40
