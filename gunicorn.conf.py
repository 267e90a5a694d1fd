"""gunicorn's settings for MiniVault, as `gunicorn wsgi:app` finds them here; `minivault serve` reads the same."""

from minivault.worker.configuration import *  # noqa: F403
