"""gunicorn's settings for MiniVault. Each line says why; `MINIVAULT_*` variables change what may be changed."""

import logging
import os
import shutil
import signal
import sys

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from minivault.config import load_settings
from minivault.errors import MiniVaultError
from minivault.service.load_backoff import LoadBackoff
from minivault.service.threads import CANNOT_START, start_all, thread_limit

try:
    settings = load_settings()
except MiniVaultError as error:
    print(f"minivault: {error.message}", file=sys.stderr)
    sys.exit(CANNOT_START)

bind = settings.bind
# gthread, where streams hold a thread each and the model runs in one of its own, and slow clients hold none
worker_class = "minivault.access.patient_worker.PatientWorker"
workers = settings.workers  # each holds one copy of the model
threads = settings.threads  # cheap; many more than generations, so that /health always finds one
worker_connections = settings.threads + 4  # a short hidden queue: a busy worker leaves connections to an idle one
backlog = 128  # beyond the hidden queue, connections wait in the kernel
keepalive = 2  # idle connections hold places
timeout = 60  # a worker whose main loop is stuck is replaced
graceful_timeout = settings.graceful_timeout_s  # streams end within this after SIGTERM; we end them 5 s earlier
max_requests = 0  # recycling would reload the model and leave a hole
preload_app = False  # torch must not run before the fork
control_socket_disable = True  # one fixed path a user: a second server would take it over
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # the heartbeat should not wait for a disk
loglevel = settings.log_level
backoff = LoadBackoff(settings.run_dir)  # no fork loop where memory does not suffice for the model
accesslog = None  # the vault is the record; a second log of requests would hold half of it


def on_starting(server: Arbiter) -> None:
    """Refuse what cannot work with one line, before any worker exists."""
    logger = logging.getLogger("minivault")  # our own lines go where gunicorn's go
    logger.handlers = server.log.error_log.handlers
    logger.setLevel(server.log.error_log.level)
    directory = settings.run_dir / f"metrics-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)  # before anything imports prometheus_client
    from minivault.access import check_access
    from minivault.service.backends import check_backend

    try:
        check_access(settings, server.cfg.address)  # `gunicorn -b` may have changed what is bound
        check_backend(settings)
    except MiniVaultError as error:
        print(f"minivault: {error.message}", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
        sys.exit(CANNOT_START)


def post_fork(_server: Arbiter, worker: Worker) -> None:
    """Load the model in the background; the worker serves `loading` until it is there."""
    # Until the worker installs its own handlers, SIGTERM must stop it, not queue up behind the arbiter's.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from minivault.access import harden_sockets, install_offline_guard
    from minivault.worker import start_worker

    install_offline_guard(settings)
    harden_sockets(worker.sockets, receive_s=settings.receive_timeout_s, send_s=settings.send_timeout_s)
    with thread_limit(settings, backoff, is_first=worker.age <= worker.cfg.workers):
        start_worker(settings, backoff, is_stopping=lambda: not worker.alive)


def post_worker_init(worker: Worker) -> None:
    """Start the threads and open the vault: closes the records of workers that died."""
    from minivault.worker import open_worker

    with thread_limit(settings, backoff, is_first=worker.age <= worker.cfg.workers):
        start_all(worker.tpool, worker.cfg.threads)
        open_worker(worker.wsgi)


def worker_int(_worker: Worker) -> None:
    """SIGINT and SIGQUIT: end the streams at once."""
    from minivault.worker import interrupt_worker

    interrupt_worker(settings)


def worker_exit(_server: Arbiter, worker: Worker) -> None:
    """Flush the vault; a killed worker's records are closed by the next one."""
    from minivault.worker import close_worker

    close_worker(getattr(worker, "wsgi", None))


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Drop a dead worker's gauges, and remember if it never got to serve."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
    backoff.note_exit(worker.pid)


def on_exit(_server: Arbiter) -> None:
    """Remove this run's metrics."""
    shutil.rmtree(settings.run_dir / f"metrics-{os.getpid()}", ignore_errors=True)
