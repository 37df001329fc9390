"""A key is nowhere but in the request: no log of any level, no error, artifact, event, result, ledger or store."""

import logging
import subprocess
import sys
from base64 import b64encode

import pytest

from prefect_media.simulator import Fault, Simulator

KEY = "sk-key-that-nobody-must-see"
TOKEN = "eyJtoken-that-nobody-must-see.eyJzdWIiOiJ4In0.c2ln"  # noqa: S105
SECRET = "aws-secret-that-nobody-must-see"  # noqa: S105
PROMPT = "a prompt that is nobodys business"

PIPELINE = f"""
import logging, pickle, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from prefect import flow
from pydantic import SecretStr
from prefect_media import *
from prefect_media.tasks import ashow_gallery

url, azure_url, store_url, endpoint, prompt = sys.argv[1:]
openai = OpenAICredentials(api_key=SecretStr("{KEY}"), base_url=url)
azure = AzureOpenAICredentials(azure_ad_token=SecretStr("{TOKEN}"), base_url=azure_url)
store = MediaStore(
    url=store_url, endpoint_url=endpoint or None, aws_access_key_id=SecretStr("public"),
    aws_secret_access_key=SecretStr("{SECRET}"),
)

@flow(persist_result=True)
def pipeline(openai: OpenAICredentials, azure: AzureOpenAICredentials, store: MediaStore):
    print(openai, azure, store, repr(openai.connection()), repr(store.storage()))
    request = ImageRequest(prompt=prompt, model="gpt-image-2")
    many = [request.model_copy(update={{"variant": 1}})]
    batch = submit_image_batch.with_options(retries=0)(openai, many, store=store)
    print(batch, fetch_image_batch.with_options(retries=0)(openai, batch, store=store)[0].error)
    [still] = generate_images.with_options(retries=0)(openai, request, store=store)
    request = VideoRequest(prompt=prompt, model="films", seconds=4, size="720x1280", image=still)
    clip = generate_video.with_options(retries=0)(azure, request, store=store)
    return publish([still, clip], store)

@flow
async def gallery(manifest: Manifest):
    await ashow_gallery(manifest.assets)

try:
    import asyncio
    asyncio.run(gallery(pipeline(openai, azure, store)))
except Exception as error:
    print("ENDED", repr(error), str(error), pickle.dumps(error))
    raise SystemExit(3)
"""


def everything(prefect_server, folder):
    """All bytes that Prefect and we left on disk: databases, results, stores."""
    for root in (prefect_server.home, folder):
        for path in root.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()


@pytest.mark.parametrize("fault", [None, "401", "500", "moderation", "html", "job"])
def test_no_secret_is_left_anywhere(prefect_server, s3, tmp_path, fault):
    store_url = str(tmp_path / "store") if fault else f"s3://{s3.bucket()}/media"
    with Simulator() as simulator:
        prompt = PROMPT
        if fault == "moderation":
            prompt += " forbidden"
        elif fault == "html":
            simulator.faults.append(Fault("POST", "/videos", "answer", times=None, status=200, body="<html>"))
        elif fault == "job":
            # The server echoes what it was sent: in the job, in its error, in headers.
            error = {"code": TOKEN, "message": f"no access with Bearer {TOKEN} or {b64encode(TOKEN.encode()).decode()}"}
            job = {"id": "video_1", "object": "video", "model": TOKEN, "status": "queued", "progress": 0}
            echo = {"X-Request-Id": TOKEN, "X-Echo": f"Bearer {TOKEN}"}
            for path, body in (("POST", job), ("GET", {**job, "status": "failed", "error": error})):
                route = "/videos$" if path == "POST" else "/videos/video_1"
                simulator.faults.append(Fault(path, route, "answer", times=None, status=200, body=body, headers=echo))
        elif fault:
            simulator.faults.append(Fault("POST", "/images", "answer", times=None, status=int(fault)))
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                PIPELINE,
                simulator.url,
                simulator.azure_url,
                store_url,
                "" if fault else s3.url,
                prompt,
            ],
            env={**prefect_server.env, "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG"},
            capture_output=True,
            timeout=180,
        )
        assert done.returncode == (3 if fault else 0), done.stderr.decode()[-3000:]
        # It was sent, so there was something to hide.
        assert any(KEY in request.headers.get("authorization", "") for request in simulator.requests)
        if fault in (None, "html", "job"):
            assert any(TOKEN in request.headers.get("authorization", "") for request in simulator.requests)

    said = done.stdout + done.stderr
    assert b"DEBUG" in said
    if fault == "job":
        assert b"JobFailed" in said
    for secret in (KEY, TOKEN, SECRET, b64encode(TOKEN.encode()).decode()):
        assert secret.encode() not in said
        for path, content in everything(prefect_server, tmp_path):
            assert secret.encode() not in content, f"a secret is in {path}"
    if not fault:
        storage = s3_objects(s3, store_url)
        assert len(storage) >= 6
        for name, content in storage.items():
            for secret in (KEY, TOKEN, SECRET):
                assert secret.encode() not in content, f"a secret is in {name}"


def s3_objects(s3, url):
    import boto3

    session = boto3.Session(aws_access_key_id=s3.key, aws_secret_access_key=s3.secret, region_name="us-east-1")
    client = session.client("s3", endpoint_url=s3.url)
    bucket = url.split("/")[2]
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    return {row["Key"]: client.get_object(Bucket=bucket, Key=row["Key"])["Body"].read() for row in listed}


@pytest.fixture
def told(prefect):
    """Everything that is logged at INFO or above, whatever Prefect has made of the loggers."""
    from prefect import flow

    @flow
    def first(): ...

    first()  # with the first flow of a process, Prefect sets its loggers up anew
    records = []

    class Listener(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    loggers = [logging.getLogger(name) for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs")]
    listener = Listener(logging.INFO)
    for logger in loggers:
        logger.addHandler(listener)
    yield records
    for logger in loggers:
        logger.removeHandler(listener)


def test_private_prompts_are_not_logged_at_info(told, media_credentials, tmp_path, configure):
    """By default the names of task runs have them, and so has the log; PREFECT_MEDIA_LOG_PROMPTS=0 keeps them out."""
    from prefect import flow

    from prefect_media import (
        ImageRequest,
        VideoRequest,
        fetch_image_batch,
        generate_images,
        generate_video,
        submit_image_batch,
    )

    @flow
    def make():
        for _ in range(2):
            many = [ImageRequest(prompt=PROMPT, model="gpt-image-2", variant=variant) for variant in (1, 2)]
            batch = submit_image_batch(media_credentials, many, store=str(tmp_path))
            fetch_image_batch(media_credentials, batch, store=str(tmp_path))
            generate_images(media_credentials, ImageRequest(prompt=PROMPT, model="gpt-image-2"), store=str(tmp_path))
            request = VideoRequest(prompt=PROMPT, model="sora-2", seconds=4, size="720x1280")
            generate_video(media_credentials, request, store=str(tmp_path))

    configure(log_prompts=0)
    make()
    said = " ".join(told)
    assert "Bought before" in said
    assert "Submitted before" in said
    assert PROMPT not in said
