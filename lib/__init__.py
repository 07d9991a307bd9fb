"""OSTrack: single-object visual tracking. Importing ``lib`` comes before torch in every command."""

import os

# Threads that wait for each other go to sleep instead of spinning. Spinning costs little while the machine is idle, but
# beside other work a thread spins in the time that the one it waits for needs: docs/performance.md has figures. OpenMP
# reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
