"""Benchmarks, the runner and result files."""

from lib.data.sequence import Annotations, ImageFrames, Sequence
from lib.test.evaluation.benchmarks import get_dataset
from lib.test.evaluation.results import find_results, read_result, result_path

__all__ = ["Annotations", "ImageFrames", "Sequence", "find_results", "get_dataset", "read_result", "result_path"]
