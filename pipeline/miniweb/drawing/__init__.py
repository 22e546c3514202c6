"""Drawn scenes of VOC's twenty classes, with masks: the material of MiniVOC and of the mini web."""

from pipeline.miniweb.drawing.captions import describe
from pipeline.miniweb.drawing.catalogue import CLASS_NAMES, sample_class_ids
from pipeline.miniweb.drawing.scene import Scene, draw_scene
from pipeline.miniweb.drawing.styles import STYLES

__all__ = ["CLASS_NAMES", "STYLES", "Scene", "describe", "draw_scene", "sample_class_ids"]
