"""What holds for every test."""

from __future__ import annotations

import signal

# Whoever starts the tests in the background may have made them ignore Ctrl-C, and every child would inherit that; a
# handler of our own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
