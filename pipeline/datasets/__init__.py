"""Data sets, tasks and protocols, image access and transforms. `python -m pipeline.datasets --help`."""

STAGE_VERSION = 1


class DatasetError(ValueError):
    """A data set on disk is not what its layout promises; the message names the file."""
