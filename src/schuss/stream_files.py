"""Readers of `Stream` for files and Arrow data."""


def reader(source, **options):
    return None
