"""`gunicorn.conf.py`, except that the workers of the ages in THREADLESS (by comma; the first worker's is 1) can start
no thread."""

import os
import resource
import runpy
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent.parent
_conf = runpy.run_path(str(_PROJECT / "gunicorn.conf.py"))
globals().update({name: value for name, value in _conf.items() if not name.startswith("__")})
_ages = os.environ["THREADLESS"].split(",")


def post_fork(server, worker):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """As a worker, it is all the processes and threads that this limit lets an account have."""
    if str(worker.age) in _ages:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    _conf["post_fork"](server, worker)
