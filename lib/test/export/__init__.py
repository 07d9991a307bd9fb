"""The network of a tracker as a file that other programs run: ONNX, OpenVINO and exported PyTorch programs."""

from lib.test.export.exporting import Exported, ExportOptions, export_network, open_network
from lib.test.export.formats import FORMATS

__all__ = ["FORMATS", "ExportOptions", "Exported", "export_network", "open_network"]
