"""Captions, nouns, class vocabulary and the noun filter. `python -m pipeline.captioning --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 2

__getattr__ = lazy_names(
    __name__,
    {
        "caption": "captions",
        "extract_nouns": "nouns",
        "filter_nouns": "noun_filter.judge",
        "Similarity": "noun_filter.similarity",
        "Captioner": "captioners",
    },
)
