"""Trained models at work: on images from Python, on folders, and exported. `python -m pipeline.predict --help`."""

from pipeline.runtime.lazy import lazy_names

__getattr__ = lazy_names(
    __name__,
    {
        "Segmentation": "result",
        "Segmenter": "segmenter",
        "load_segmenter": "loading",
        "open_model": "loading",
        "predict_images": "folder",
    },
)
