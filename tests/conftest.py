"""What holds for every test."""

from __future__ import annotations

import os
import signal

# Whoever starts the tests in the background may have made them ignore Ctrl-C, and every child would inherit that; a
# handler of our own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported. Its threads wait for each other many times a token: where other programs have the cores, two
# of them take many times as long as one. How many there are changes no bit (tests/engine/fused/test_reproducible.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")
