"""What holds for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Whoever starts the tests in the background may have made them ignore Ctrl-C, and every child would inherit that; a
# handler of our own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported. Its threads wait for each other many times a token: where other programs have the cores, two
# of them take many times as long as one. How many there are changes no bit (tests/engine/fused/test_reproducible.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples at every run, so that whether the tests pass is no matter of luck; `make fuzz` tries new ones.
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("new", settings.get_profile("default"), print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
