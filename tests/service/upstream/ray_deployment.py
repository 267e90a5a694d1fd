"""Ray Serve with two replicas of an OpenAI-compatible deployment, on loopback: `python ray_deployment.py PORT`.

Run by a Python that has `ray[serve]`; each replica says who it is in `system_fingerprint`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

# Before Ray is imported. On a busy machine its own limits end what takes longer to come up, over and over: 5 seconds
# for a proxy, 60 for a worker, whose processes also give way to all others (niceness 15).
os.environ |= {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve

app = FastAPI()


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Echo:
    """Says the last message again, a word at a time."""

    @app.get("/v1/models")
    def models(self) -> dict:
        return {"object": "list", "data": [{"id": "echo", "object": "model", "owned_by": "ray"}]}

    @app.post("/v1/chat/completions")
    def chat(self, body: dict) -> StreamingResponse:
        said = body["messages"][-1]["content"] + " indeed"
        return StreamingResponse(self._stream(said, body, "delta"), media_type="text/event-stream")

    @app.post("/v1/completions")
    def completions(self, body: dict) -> StreamingResponse:
        return StreamingResponse(self._stream(body["prompt"] + " a time", body, "text"), media_type="text/event-stream")

    async def _stream(self, said: str, body: dict, kind: str) -> AsyncIterator[str]:
        words = said.split(" ")[: body.get("max_tokens") or 1000]
        for word in words:
            choice = {"index": 0, "delta": {"content": word + " "}} if kind == "delta" else {"text": word + " "}
            yield self._event({"id": "ray", "system_fingerprint": f"pid {os.getpid()}", "choices": [choice]})
            await asyncio.sleep(0.001)
        usage = {"prompt_tokens": 1, "completion_tokens": len(words)}
        yield self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        yield "data: [DONE]\n\n"

    @staticmethod
    def _event(value: dict) -> str:
        return f"data: {json.dumps(value)}\n\n"


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Echo.bind(), blocking=False)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
