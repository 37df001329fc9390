"""Requests to each kind of server, and what a server was sent."""

from prefect_media import VideoRequest
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.simulator.profiles import PROFILES

NAMES = list(PROFILES)
TERMS = PurchaseOptions(scope="test", timeout=30)
PROMPT = "a paper boat"
ASKED = {"prompt": PROMPT, "model": "wan", "size": "128x72"}


def connection(server):
    return server.credentials.connection()


def video(**fields):
    return VideoRequest(**{**ASKED, "seconds": 2, **fields})


def sent(server, path="/v1/videos", method="POST"):
    [request] = [seen for seen in server.requests if (seen.method, seen.path) == (method, path)]
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind, request.body


# The documented form of an order for text: content type and fields. Source and date of each are in dialects.toml.
FORM, JSON = "multipart/form-data", "application/json"


TEXT = {
    "openai": (FORM, {**ASKED, "seconds": "2"}),
    "azure": (FORM, {**ASKED, "seconds": "2"}),
    "vllm-omni": (FORM, {**ASKED, "seconds": "2"}),
    "sglang": (JSON, {**ASKED, "seconds": 2}),
    "trtllm": (JSON, {**ASKED, "seconds": 2}),
    "litellm": (JSON, {**ASKED, "seconds": "2"}),
    "new-api": (FORM, {**ASKED, "seconds": "2"}),
    "openrouter": (JSON, {**ASKED, "duration": 2}),
}


# LiteLLM before 1.108.4 has the routes, but could not find the jobs again: see test_variations_of_proxies.py.
ALL = {"remix", "edit", "extend"}


VARIATIONS = {"openai": ALL, "litellm": ALL, "azure": {"remix"}, "new-api": {"remix"}}
