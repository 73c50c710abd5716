"""Every contract function, for every backend, data type and memory order."""
