"""Continual semantic segmentation from the web, as one staged pipeline."""

__version__ = "0.1.0"
