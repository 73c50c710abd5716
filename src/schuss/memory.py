"""How much memory there is."""

import os


def machine_memory() -> int:
    """Bytes of memory of the machine; 8 GiB where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
