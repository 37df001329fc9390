"""Events by which the provider says that a job or a batch has ended, signed and posted as OpenAI and OpenRouter do.

Written from Standard Webhooks, the events of openai-python 3.57.0, and openrouter.ai's guide
"video-generation-webhooks" (2026-11-29); not from the code that checks them.
"""

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

from .records import Batch, Job
from .state import State

TICK = 0.05
ATTEMPTS = 5
TIMEOUT = 10.0


class Messenger:
    """Posts one event for each job or batch that ends, from a thread of its own; a few times if nobody takes it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._posted: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="media-simulator-webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(TICK):
            for batch in [batch for batch in self._state.batches if batch.id not in self._posted and _ended(batch)]:
                self._posted.add(batch.id)
                self._tell_of_batch(batch)
            jobs = self._state.jobs if self._state.profile.callbacks else ()
            for job in [job for job in jobs if job.id not in self._posted and _done(job)]:
                self._posted.add(job.id)
                self._tell_of_job(job)

    def _tell_of_batch(self, batch: Batch) -> None:
        status = "cancelled" if batch.cancelled else "expired" if batch.stops_after is not None else "completed"
        status = "failed" if batch.complaints else status
        about = {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "created_at": int(time.time())}
        self._post(self._state.webhook_url, {**about, "type": f"batch.{status}", "data": {"id": batch.id}})

    def _tell_of_job(self, job: Job) -> None:
        data: dict[str, Any] = {"id": job.id, "status": job.status, "generation_id": None, "model": job.model}
        if job.status == "failed":
            data["error"] = (job.failure or {}).get("message", "")
        else:
            data |= {"unsigned_urls": [f"{self._state.root}/api/v1/videos/{job.id}/content?index=0"]}
            data |= {"usage": {"cost": 0.5, "is_byok": False}}
        event = {"type": f"video.generation.{job.status}", "created_at": datetime.now(UTC).isoformat(), "data": data}
        self._post(job.callback_url or self._state.webhook_url, event, f"{job.id}-{job.status}")

    def _post(self, url: str | None, event: dict[str, Any], key: str = "") -> None:
        if url is None:
            return
        body, call = json.dumps(event).encode(), f"wh_{uuid.uuid4().hex}"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for attempt in range(ATTEMPTS):
            if self._over.wait(attempt):
                return
            secret = self._state.webhook_secret or ""
            headers = sign_for_openrouter(body, secret, key) if key else sign(body, secret, call)
            request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
            try:
                direct.open(request, timeout=TIMEOUT).close()
            except (OSError, http.client.HTTPException):  # refused, or nobody is there
                continue
            return


def sign(body: bytes, secret: str, call: str) -> dict[str, str]:
    """The headers of a call, by Standard Webhooks; a secret that begins with `whsec_` is base64."""
    moment = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, f"{call}.{moment}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": call, "webhook-timestamp": moment, "webhook-signature": signature}


def sign_for_openrouter(body: bytes, secret: str, key: str) -> dict[str, str]:
    """The headers of a call of OpenRouter's."""
    moment = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"{moment},".encode() + body, hashlib.sha256).hexdigest()
    return {"X-OpenRouter-Signature": f"t={moment},v1={digest}", "X-OpenRouter-Idempotency-Key": key}


def _ended(batch: Batch) -> bool:
    return batch.status == "failed" if batch.complaints else batch.over


def _done(job: Job) -> bool:
    return job.status in ("completed", "failed")
