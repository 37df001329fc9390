"""The doctor: says what is well, what is not and what to do, over the wire and without buying anything."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import date

import pytest
from prefect.settings import PREFECT_API_URL
from pydantic import SecretStr

from prefect_media import AzureOpenAICredentials, MediaStore, OpenAICredentials, VideoRequest
from prefect_media.cli.doctor import examine_provider, examine_store, used_models
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import order_video
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at


async def findings(credentials, today=None, used=()):
    return [finding async for finding in examine_provider(credentials.connection(), used, today)]


def told(found, verdict):
    return " | ".join(f"{finding.what} > {finding.remedy}" for finding in found if finding.verdict == verdict)


async def test_a_provider_that_is_well(media_simulator):
    found = await findings(media_simulator.credentials)
    assert f"images go to {media_simulator.url}/images/generations" in told(found, "ok")
    assert "accepts the key" in told(found, "ok")
    assert "models are visible" in told(found, "ok")
    assert "the clock agrees" in told(found, "ok")
    assert not told(found, "bad")
    assert not media_simulator.images and not media_simulator.jobs


async def test_azure_addresses_are_shown_as_they_will_be(media_simulator):
    credentials = AzureOpenAICredentials(
        base_url=media_simulator.azure_url, api_version="2025-04-01-preview", api_key=SecretStr("k")
    )
    ok = told(await findings(credentials), "ok")
    assert "/openai/deployments/DEPLOYMENT/images/generations?api-version=2025-04-01-preview" in ok
    assert "/openai/v1/videos" in ok


async def test_a_key_that_is_refused(media_simulator):
    credentials = OpenAICredentials(base_url=media_simulator.url, api_key=SecretStr("sk-invalid-one"))
    bad = told(await findings(credentials), "bad")
    assert "refused the credentials" in bad
    assert "set api_key" in bad
    assert "sk-invalid-one" not in bad


async def test_a_server_that_is_not_there():
    credentials = OpenAICredentials(base_url="http://127.0.0.1:9/v1", api_key=SecretStr("k"))
    assert "could not be reached" in told(await findings(credentials), "bad")


async def test_a_server_without_a_list_of_models(media_simulator):
    media_simulator.faults.append(Fault("GET", "/models", "answer", status=404, body={"detail": "Not Found"}))
    found = await findings(media_simulator.credentials)
    assert "no list of models" in told(found, "note")
    assert not told(found, "bad")


async def test_models_that_end_soon_and_a_clock_that_is_wrong(media_simulator):
    body = {
        "object": "list",
        "data": [
            {"id": "gpt-image-1.5", "object": "model", "shutdown_date": "2026-12-01"},
            {"id": "gpt-image-2", "object": "model", "shutdown_date": None},
            {"id": "dall-e-3", "object": "model", "shutdown_date": "2026-05-12"},
        ],
    }
    media_simulator.faults.append(
        Fault(
            "GET",
            "/models",
            "answer",
            status=200,
            body=body,
            headers={"date": "Wed, 21 Oct 2015 07:28:00 GMT"},
        )
    )
    found = await findings(
        media_simulator.credentials, date(2026, 11, 22), {"gpt-image-1.5", "gpt-image-2", "dall-e-3"}
    )
    notes = told(found, "note")
    assert "gpt-image-1.5 will be switched off on 2026-12-01 > use gpt-image-2.6-flare" in notes
    assert "dall-e-3 was switched off on 2026-05-12 > use gpt-image-2" in notes
    assert "gpt-image-2 w" not in notes
    assert "ahead of" in told(found, "bad")
    media_simulator.faults.append(Fault("GET", "/models", "answer", status=200, body=body))
    assert not [each for each in await findings(media_simulator.credentials, date(2026, 11, 22)) if "gpt" in each.what]


async def test_the_models_in_use_are_those_of_the_purchases(media_simulator, tmp_path):
    ledger = Ledger(storage_at(str(tmp_path)))
    terms = PurchaseOptions(scope="named:test", timeout=30)
    request = VideoRequest(prompt="a boat", model="openai/sora-2", seconds=4)
    await order_video(media_simulator.credentials.connection(), request, ledger, terms)
    assert await used_models(ledger.storage) == {"sora-2"}


async def test_one_saved_block_is_tested_alone(media_simulator, tmp_path, prefect):
    """Credentials, a store, both of one name, and a name that nothing has."""
    await media_simulator.credentials.asave("tested", overwrite=True)
    await OpenAICredentials(base_url=media_simulator.url, api_key=SecretStr("sk-invalid")).asave("bad", overwrite=True)
    await MediaStore(url=str(tmp_path / "media")).asave("tested", overwrite=True)
    env = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}

    async def doctor(*arguments):
        command = [sys.executable, "-m", "prefect_media", "doctor", "--json", "--block", *arguments]
        done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=120)
        return done, " | ".join(each["what"] for each in json.loads(done.stdout or "[]"))

    for name, accepted, kept in (
        ("tested", True, True),
        ("openai-media-credentials/tested", True, False),
        ("media-store/tested", False, True),
    ):
        done, told = await doctor(name)
        assert done.returncode == 0, done.stderr
        assert ("accepts the key" in told, "honours conditional writes" in told) == (accepted, kept)
    done, told = await doctor("bad")
    assert done.returncode == 1 and "refused the credentials" in told
    assert "sk-invalid" not in done.stdout + done.stderr
    done, told = await doctor("nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no saved block 'nobody'" in done.stderr and len(done.stderr.splitlines()) == 1
    done, told = await doctor("tested", "--store", str(tmp_path))
    assert done.returncode == 1 and done.stderr.startswith("--block tests one block alone")


@pytest.mark.parametrize(("api_servers", "bad"), [(1, False), (2, True)])
async def test_vllm_omni_with_several_api_servers(api_servers, bad):
    with Simulator(profile="vllm-omni", api_servers=api_servers) as server:
        found = told(await findings(server.credentials), "bad")
    assert ("not supported with --api-server-count > 1" in found) == bad
    assert ("start vLLM-Omni with --api-server-count 1" in found) == bad


async def test_a_store_that_is_well_and_one_that_is_not(store, tmp_path):
    assert (await examine_store(store.storage())).verdict == "ok"
    (tmp_path / "file").write_text("no folder")
    finding = await examine_store(storage_at(str(tmp_path / "file")))
    assert finding.verdict == "bad"
    assert finding.remedy


@pytest.mark.parametrize(("key", "code"), [("sk-good", 0), ("sk-invalid", 1)])
def test_the_command(tmp_path, key, code):
    with Simulator() as simulator:
        done = subprocess.run(
            [sys.executable, "-m", "prefect_media", "doctor", "--store", str(tmp_path / "store")],
            env={**os.environ, "OPENAI_API_KEY": key, "OPENAI_BASE_URL": simulator.url},
            capture_output=True,
            text=True,
        )
    assert done.returncode == code, done.stdout + done.stderr
    assert "honours conditional writes" in done.stdout
    assert key not in done.stdout + done.stderr
    assert ("BAD" in done.stdout) == (code == 1)
