"""Check the results on NT-VOT211 and pack them for its server: a .json of boxes of whole numbers.

The results stay.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lib.test.utils.packing import pack_cli  # noqa: E402
from lib.utils.errors import run_cli  # noqa: E402

if __name__ == "__main__":
    run_cli(lambda: pack_cli("nt_vot211", __doc__))
