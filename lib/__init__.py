"""OSTrack: single-object visual tracking. Importing ``lib`` comes before torch in every command."""

import os

# Threads that wait for each other spin for tens of microseconds and then sleep, not for milliseconds: beside other work
# a thread spins in the time that the one it waits for needs (docs/performance.md). GNU's OpenMP, which PyTorch uses,
# reads this once, when torch is imported; what the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
