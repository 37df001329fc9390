"""Calls signed as https://www.standardwebhooks.com and OpenRouter's documentation say, not by the code that checks."""

import base64
import hashlib
import hmac
import json
import time
import uuid


def signed(body, secret, *, call=None, age=0.0):
    """The headers of a call; a secret that begins with `whsec_` is base64."""
    call, moment = call or f"wh_{uuid.uuid4().hex}", str(int(time.time() - age))
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, f"{call}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": call,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def signed_by_openrouter(body, secret, *, age=0.0, key="job-completed"):
    """The headers of a call of OpenRouter."""
    moment = str(int(time.time() - age))
    digest = hmac.new(secret.encode(), f"{moment},".encode() + body, hashlib.sha256).hexdigest()
    return {"x-openrouter-signature": f"t={moment},v1={digest}", "x-openrouter-idempotency-key": key}


def event(kind, job_id):
    """The body of an event of OpenAI."""
    about = {"object": "event", "id": "evt_1", "type": kind, "created_at": 1764400000, "data": {"id": job_id}}
    return json.dumps(about).encode()
