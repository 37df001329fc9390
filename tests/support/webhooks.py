"""Calls signed as https://www.standardwebhooks.com says, without the code that checks them."""

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


def event(kind, job_id):
    """The body of an event of OpenAI."""
    about = {"object": "event", "id": "evt_1", "type": kind, "created_at": 1764400000, "data": {"id": job_id}}
    return json.dumps(about).encode()
