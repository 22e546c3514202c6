"""Models for other programs: ONNX, TorchScript and transformers folders, each with a model card."""

from pipeline.predict.export.exporting import FORMATS, export_model

__all__ = ["FORMATS", "export_model"]
