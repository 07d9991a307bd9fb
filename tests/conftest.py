"""What all tests share."""

import json
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Reference values by file name: a dict for ``.json``, arrays by key for ``.npz``."""

    def load(name):
        if name.endswith(".json"):
            return json.loads((GOLDEN / name).read_text())
        with np.load(GOLDEN / name) as archive:
            return {key: archive[key] for key in archive.files}

    return load
