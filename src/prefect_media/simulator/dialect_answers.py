"""Jobs and refusals as servers other than OpenAI's write them down."""

import json
from typing import Any

from .api_errors import ApiError
from .records import Job

Fields = dict[str, Any]


def vllm_omni(job: Job, root: str) -> Fields:
    row = job.resource()
    done = job.status == "completed"
    error = row["error"] and {**row["error"], "code": 500 if row["error"]["code"] == "server_error" else "RuntimeError"}
    return {
        **row,
        "error": error,
        "progress": 100 if done else 0,
        "quality": "default",
        "expires_at": None,
        "media_type": "video/mp4",
        "file_name": f"{job.id}.mp4" if done else None,
        "inference_time_s": job.latency if done else None,
        "fps": 24.0,
        "action": None,
    }


def sglang(job: Job, root: str) -> Fields:
    row = job.resource()
    kept = ("id", "object", "model", "status", "progress", "created_at", "size", "seconds", "completed_at", "error")
    done = job.status == "completed"
    places = list(range(job.outputs))
    urls = [f"{root}/cloud/{job.id}/{place}.mp4" if job.in_cloud else None for place in places] if done else None
    paths = [None if job.in_cloud else f"/srv/outputs/{job.id}_{place}.mp4" for place in places] if done else None
    more = {
        "error": row["error"] and {"message": row["error"]["message"]},
        "quality": "standard",
        "url": urls[0] if urls else None,
        "urls": urls,
        "file_path": paths[0] if paths else None,
        "file_paths": paths,
        "num_outputs": job.outputs if done else None,
    }
    return {name: row[name] for name in kept} | more


def trtllm(job: Job, root: str) -> Fields:
    row = job.resource()
    kept = ("id", "object", "model", "prompt", "status", "created_at", "completed_at", "size")
    error = row["error"] and row["error"]["message"]
    return {name: row[name] for name in kept} | {"error": error, "duration": float(job.seconds), "fps": 24}


def litellm(job: Job, root: str) -> Fields:
    row = {name: value for name, value in job.resource().items() if name != "prompt"}
    return {**row, "usage": {"duration_seconds": float(job.seconds)}}


def new_api(job: Job, root: str) -> Fields:
    row = {name: value for name, value in job.resource().items() if value is not None and name != "prompt"}
    metadata = {"metadata": {"url": f"{root}/v1/videos/{job.id}/content"}} if job.status == "completed" else {}
    return {**row, "task_id": job.id, "created_at": row["created_at"] * 1000, **metadata}


def openrouter(job: Job, root: str) -> Fields:
    polling_url = f"{root}/v1/videos/{job.id}"
    row: Fields = {
        "id": job.id,
        "polling_url": polling_url,
        "status": "pending" if job.status == "queued" else job.status,
    }
    if job.status == "completed":
        urls = [] if "filtered" in job.prompt else [f"{polling_url}/content?index=0"]
        row |= {"generation_id": f"gen-{job.id}", "unsigned_urls": urls, "usage": {"cost": 0.4, "is_byok": False}}
    if job.failure and job.status == "failed":
        row["error"] = job.failure["message"]
    return row


def fastapi(error: ApiError) -> Fields:
    message = str(error)
    return {"detail": json.loads(message) if message.startswith("[") else message}


def trtllm_error(error: ApiError) -> Fields:
    kind = "NotFoundError" if error.status == 404 else "BadRequestError"
    return {"object": "error", "message": str(error), "type": kind, "param": None, "code": error.status}


def litellm_error(error: ApiError) -> Fields:
    """What the provider behind it said stands in the message; of an Azure deployment, all of its body as JSON."""
    detail = f"OpenAIException - {error}"
    if "moderation_details" in error.azure:
        detail = f"AzureException BadRequestError - {json.dumps({'error': error.azure})}"
    return {
        "error": {
            "message": f"litellm.BadRequestError: {detail}",
            "type": "invalid_request_error",
            "param": None,
            "code": str(error.status),
        }
    }


def new_api_error(error: ApiError) -> Fields:
    return {"code": error.openai["code"] or "invalid_request", "message": str(error), "data": None}


def openrouter_error(error: ApiError) -> Fields:
    return {"error": {"code": error.status, "message": str(error)}}
