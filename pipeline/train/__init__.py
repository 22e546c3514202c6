"""Training of one step: engine, models, losses and methods. `python -m pipeline.train --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 2

__getattr__ = lazy_names(
    __name__,
    {
        "train_step": "engine",
    },
)
