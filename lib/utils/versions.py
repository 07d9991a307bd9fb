"""What a run was made with."""

from __future__ import annotations

import platform

import cv2
import numpy as np


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, for checkpoints and result files."""
    import torch  # slow to import, and known by now to everyone who tracks or trains

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
