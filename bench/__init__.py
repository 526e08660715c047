"""Load scripts and what they measured."""

import os

# As `python -m scoring_service` sets it, before torch is imported: a loop and a pod are then measured alike.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
