"""Replay selection, pseudo-labels and training lists. `python -m pipeline.pseudolabel --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 1

__getattr__ = lazy_names(
    __name__,
    {
        "pseudolabel": "label",
        "select_replay": "replay",
        "write_train_list": "listing",
    },
)
