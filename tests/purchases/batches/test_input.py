"""What can't go into a batch is said before anything is sent; and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from boats import DETAILED, HERE, boats, sent, states
from buyer import MODEL
from prefect_media.tasks import aimage_batch_is_finished
from pydantic import SecretStr

from prefect_media import (
    AzureOpenAICredentials,
    ImageEditRequest,
    ImageRequest,
    OpenAICredentials,
    VideoRequest,
    afetch_image_batch,
    agenerate_images,
    asubmit_image_batch,
)
from prefect_media.errors import InvalidRequest
from prefect_media.providers import batches as wire
from prefect_media.simulator import Simulator

OPENAI = OpenAICredentials(api_key=SecretStr("sk-x"))


@pytest.mark.parametrize(
    ("credentials", "requests", "said"),
    [
        (OPENAI, [], "requests is empty; pass at least one ImageRequest"),
        (OPENAI, iter([ImageRequest(prompt="a", model=DETAILED)]), "is a list_iterator; pass a list"),
        (OPENAI, ["a fox"], r"requests\[0\]: a str is not an ImageRequest"),
        (OPENAI, ImageRequest(prompt="a", model=DETAILED), "requests is one ImageRequest; pass several"),
        (
            AzureOpenAICredentials(base_url="https://me.openai.azure.com", api_key=SecretStr("k")),
            [ImageRequest(prompt="a", model=DETAILED)],
            "Azure lists text models only",
        ),
        (OPENAI, [ImageEditRequest(prompt="a", model=DETAILED, images=["x.png"])], r"requests\[0\]: an ImageEdit"),
        (OPENAI, [VideoRequest(prompt="a", model="x")], r"requests\[0\]: a VideoRequest is not an ImageRequest"),
        (
            OPENAI,
            [
                ImageRequest(prompt="a", model=DETAILED, quality="best"),
                ImageRequest(prompt="a", model=DETAILED),
                ImageRequest(prompt="a", model="dall-e-3"),
                ImageRequest(prompt="a", model=DETAILED, size="1000x1000"),
            ],
            r"3 of 4 requests.*\[0\]: .*best.*\[2\]: dall-e-3 was switched off.*\[3\]: .*1000x1000.*nothing was sent$",
        ),
        (
            OPENAI,
            [ImageRequest(prompt="a", model=DETAILED), ImageRequest(prompt="a", model="gpt-image-2.6-flare")],
            r"one model, and these are for gpt-image-2 \(1\), gpt-image-2.6-flare \(1\); submit one for each",
        ),
    ],
)
async def test_what_can_not_work_is_said_before_anything_is_sent(tmp_path, credentials, requests, said):
    with pytest.raises(InvalidRequest, match=said):
        await asubmit_image_batch.fn(credentials, requests, store=str(tmp_path), **HERE)
    assert not list(tmp_path.rglob("*.json*")), "nothing was intended, so nothing is on the ledger"


@pytest.mark.parametrize(
    ("limit", "most", "said"), [("MOST_LINES", 2, "3 lines"), ("MOST_BYTES", 300, "submit several")]
)
async def test_more_than_a_batch_holds_is_several_batches(tmp_path, monkeypatch, limit, most, said):
    monkeypatch.setattr(wire, limit, most)
    with pytest.raises(InvalidRequest, match=said):
        await asubmit_image_batch.fn(
            OPENAI, boats("a", "b", "c", model=DETAILED, size=None), store=str(tmp_path), **HERE
        )
    assert not list(tmp_path.rglob("*.json*"))


async def test_a_server_without_batches_is_told_before_anything_is_on_its_way(tmp_path):
    with Simulator(profile="vllm-omni") as simulator:
        with pytest.raises(InvalidRequest, match=r"has no Batch API.*generate_images"):
            await asubmit_image_batch.fn(simulator.credentials, boats("a"), store=str(tmp_path), **HERE)
        assert sent(simulator) == []
        assert await agenerate_images.fn(simulator.credentials, boats("a")[0], store=str(tmp_path), **HERE)


async def test_the_key_goes_to_no_server_but_its_own_and_the_store_is_the_same(simulator, tmp_path):
    credentials = simulator.credentials
    batch = await asubmit_image_batch.fn(credentials, boats("a"), store=str(tmp_path / "one"), **HERE)
    stranger = OpenAICredentials(base_url="http://127.0.0.1:9/v1", api_key=SecretStr("sk-for-another-server"))
    for step in (afetch_image_batch, aimage_batch_is_finished):
        with pytest.raises(InvalidRequest, match=r"these credentials are for http://127\.0\.0\.1:9"):
            await step.fn(stranger, batch, store=str(tmp_path / "one"))
        with pytest.raises(InvalidRequest, match="pass the store it was submitted with"):
            await step.fn(credentials, batch, store=str(tmp_path / "two"))


async def test_the_command_line_knows_batches(simulator, tmp_path):
    def jobs(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", "from prefect_media.cli.app import main; main()", "jobs", *arguments],
            env={
                **os.environ,
                "PREFECT_MEDIA_STORE": str(tmp_path),
                "OPENAI_BASE_URL": simulator.url,
                "OPENAI_API_KEY": "sk-simulated",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    batch = await asubmit_image_batch.fn(simulator.credentials, boats("a red boat", "b"), store=str(tmp_path), **HERE)
    listed = jobs("list").splitlines()
    assert [line for line in listed if batch.id in line and "image batch" in line and MODEL in line]
    assert [line for line in listed if "a red boat" in line and "submitted" in line]
    assert json.loads(jobs("show", batch.key[:12]))["batch"]["id"] == batch.id
    assert "done, 2 of 2 requests" in jobs("resume")
    assert set((await states(tmp_path)).values()) == {"done"}
    assert "Forgotten" in jobs("forget", batch.key[:12], "--yes")
