"""Versions of the software of a run."""

from __future__ import annotations

import platform

import cv2
import numpy as np


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    import torch  # slow to import, and already imported by all callers

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
