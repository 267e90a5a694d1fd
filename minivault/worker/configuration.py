"""gunicorn's settings for MiniVault. Each line says why; `MINIVAULT_*` variables change what may be changed."""

import os
import sys

from minivault.config import load_settings
from minivault.errors import MiniVaultError
from minivault.worker.hooks import Hooks
from minivault.worker.threads import CANNOT_START

try:
    settings = load_settings()
except MiniVaultError as error:
    print(f"minivault: {error.message}", file=sys.stderr)
    sys.exit(CANNOT_START)

bind = settings.bind
# gthread, where streams hold a thread each and the model runs in one of its own, and slow clients hold none
worker_class = "minivault.worker.patient_threads.PatientWorker"
workers = settings.workers  # each holds one copy of the model
threads = settings.threads  # cheap; many more than generations, so that /health always finds one
worker_connections = settings.threads + 4  # a short hidden queue: a busy worker leaves connections to an idle one
backlog = 128  # beyond the hidden queue, connections wait in the kernel
keepalive = 2  # idle connections hold places
timeout = 60  # a worker whose main loop is stuck is replaced
graceful_timeout = settings.graceful_timeout_s  # streams end within this after SIGTERM; we end them 5 s earlier
forwarder_headers = ""  # no header may say where the application begins (SCRIPT_NAME)
max_requests = 0  # recycling would reload the model and leave a hole
preload_app = False  # torch must not run before the fork
control_socket_disable = True  # one fixed path a user: a second server would take it over
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # the heartbeat should not wait for a disk
loglevel = settings.log_level
accesslog = None  # the vault is the record; a second log of requests would hold half of it

hooks = Hooks(settings)
on_starting = hooks.on_starting  # refuse what cannot work, before any worker exists
pre_fork = hooks.pre_fork  # remember which vault it is
post_fork = hooks.post_fork  # load the model in the background
post_worker_init = hooks.post_worker_init  # start the threads and open the vault
worker_int = hooks.worker_int  # SIGINT and SIGQUIT: end the streams at once
worker_exit = hooks.worker_exit  # flush the vault
child_exit = hooks.child_exit  # remember a worker that never got to serve: no fork loop where memory does not suffice
on_exit = hooks.on_exit  # remove this run's metrics
