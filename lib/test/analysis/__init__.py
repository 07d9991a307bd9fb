"""Scores of tracking results: metrics, reports, tables and plots."""

from lib.test.analysis.report import Report, evaluate

__all__ = ["Report", "evaluate"]
