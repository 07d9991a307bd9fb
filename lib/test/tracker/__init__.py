"""Trackers, and how to build one from an experiment's name."""

from lib.test.tracker.build import build_tracker, find_checkpoint
from lib.test.tracker.tracker import Target, Tracker

__all__ = ["Target", "Tracker", "build_tracker", "find_checkpoint"]
