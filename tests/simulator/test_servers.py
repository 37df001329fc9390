"""The simulator's profiles: what each real server was seen to do, by plain HTTP."""

import base64
import io
import json

import httpx
import pytest
from PIL import Image

from prefect_media.simulator import Simulator
from prefect_media.simulator.profiles import OLDER, PROFILES

HEADERS = {"Authorization": "Bearer any"}
FILM = {"prompt": "a paper boat", "model": "wan", "size": "128x72", "seconds": "1"}
PICTURE = {"prompt": "a paper boat", "model": "flux", "size": "64x64"}


@pytest.fixture
def start(request):
    """Starts a simulator and gives it and a client for it."""

    def started(profile, latency=0.0, **options):
        simulator = Simulator(profile=profile, latency=latency, **options)
        simulator.start()
        request.addfinalizer(simulator.stop)
        http = httpx.Client(base_url=simulator.azure_url, headers=HEADERS, timeout=30)
        request.addfinalizer(http.close)
        return simulator, http

    return started


def test_every_profile_says_what_was_looked_at_and_when():
    for profile in (*PROFILES.values(), *(older for versions in OLDER.values() for older in versions.values())):
        assert profile.version
        assert profile.checked >= "2026-11-22"
    for name, versions in OLDER.items():
        assert PROFILES[name].version not in versions


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match=r"version='0.1' of litellm is not known; choose one of 1\.110\.2, 1\.106\.2"):
        Simulator(profile="litellm", version="0.1")
    with pytest.raises(ValueError, match="profile='vllm' is not known; choose one of openai, azure, vllm-omni"):
        Simulator(profile="vllm")


# SGLang


def test_sglang_has_no_way_to_cancel(start):
    simulator, http = start("sglang", latency=60)
    job = http.post("/v1/videos", json={**FILM, "seconds": 1}).json()
    answer = http.post(f"/v1/videos/{job['id']}/cancel")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert not simulator.jobs[0].cancelled


def test_sglang_forgets_a_job_that_goes_on_and_is_billed(start):
    simulator, http = start("sglang", latency=60)
    job = http.post("/v1/videos", json={**FILM, "seconds": 1}).json()
    answer = http.delete(f"/v1/videos/{job['id']}")
    assert (answer.status_code, answer.json()["status"]) == (200, "deleted")
    for path in ("", "/content"):
        assert http.get(f"/v1/videos/{job['id']}{path}").status_code == 404
    simulator.advance(60)
    assert (simulator.jobs[0].status, simulator.jobs[0].deleted) == ("completed", True)
    assert http.get(f"/v1/videos/{job['id']}").status_code == 404


def test_sglang_lists_pages_of_jobs_without_prompts(start):
    _, http = start("sglang")
    ids = [http.post("/v1/videos", json={**FILM, "seconds": 1}).json()["id"] for _ in range(22)]
    page = http.get("/v1/videos").json()
    assert [row["id"] for row in page["data"]] == ids[:1:-1]
    assert page["has_more"]
    assert all("prompt" not in row for row in page["data"])
    rest = http.get("/v1/videos", params={"after": page["last_id"]}).json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (ids[1::-1], False)
    assert http.get("/v1/videos", params={"limit": 101}).is_client_error


def test_an_older_sglang_does_not_say_whether_there_is_more(start):
    _, http = start("sglang", version="00ae37c")
    assert set(http.get("/v1/videos").json()) == {"object", "data"}
    answer = http.post("/v1/videos", files={name: (None, value) for name, value in FILM.items()})
    assert (answer.status_code, answer.json()["detail"]) == (400, "input_reference file is required")


def test_sglang_leads_to_cloud_storage(start):
    simulator, http = start("sglang", cloud_content=True)
    simulator.latency = 60
    job = http.post("/v1/videos", json={**FILM, "seconds": 1, "n": 2}).json()
    assert (job["url"], job["urls"]) == (None, None)
    simulator.advance(60)
    job = http.get(f"/v1/videos/{job['id']}").json()
    assert job["url"] == job["urls"][0]
    assert job["file_path"] is None
    answer = http.get(f"/v1/videos/{job['id']}/content")
    words = f"Video has been uploaded to cloud storage. Please use the cloud URL: {job['url']}"
    assert (answer.status_code, answer.json()["detail"]) == (400, words)
    films = [httpx.get(url, timeout=30) for url in job["urls"]]
    assert all(film.headers["content-type"] == "video/mp4" for film in films), "without a key"
    assert films[0].content != films[1].content
    assert httpx.get(job["url"].replace("/0.mp4", "/2.mp4")).status_code == 404


@pytest.mark.parametrize("how", ["json", "form", "nested"])
def test_sglang_renders_as_many_as_it_is_asked_for(start, how):
    simulator, http = start("sglang")
    body = {**FILM, "seconds": 1}
    if how == "json":
        job = http.post("/v1/videos", json={**body, "n": 3}).json()
    elif how == "nested":
        job = http.post("/v1/videos", json={**body, "extra_body": {"num_outputs_per_prompt": 3}}).json()
    else:
        job = http.post(
            "/v1/videos", files={name: (None, str(value)) for name, value in {**body, "n": 3}.items()}
        ).json()
    assert simulator.jobs[0].outputs == http.get(f"/v1/videos/{job['id']}").json()["num_outputs"] == 3
    content = f"/v1/videos/{job['id']}/content"
    films = [http.get(content, params={"variant": number}).content for number in range(3)]
    assert len(set(films)) == 3
    assert http.get(content).content == films[0]
    assert http.get(content, params={"variant": 3}).status_code == 404


def test_sglang_links_to_images_without_saying_where(start):
    simulator, http = start("sglang")
    answer = http.post("/v1/images/generations", json=PICTURE).json()
    [image] = answer["data"]
    assert image["url"] == f"/v1/images/{answer['id']}/content"
    assert image["b64_json"] is None
    content = http.get(image["url"])
    assert (content.headers["content-type"], Image.open(io.BytesIO(content.content)).size) == ("image/png", (64, 64))
    assert httpx.get(f"{simulator.azure_url}{image['url']}").status_code == 401, "it wants the key"
    assert http.get("/v1/images/nothing/content").status_code == 404
    encoded = http.post("/v1/images/generations", json={**PICTURE, "response_format": "b64_json"}).json()["data"][0]
    assert (encoded["url"], base64.b64decode(encoded["b64_json"])) == (None, content.content)
    several = http.post("/v1/images/generations", json={**PICTURE, "n": 2}).json()["data"]
    assert [image["url"].partition("?")[2] for image in several] == ["variant=0", "variant=1"]
    assert len({http.get(image["url"]).content for image in several}) == 2


def test_sglangs_edits_come_with_the_answer(start):
    _, http = start("sglang")
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    answer = http.post("/v1/images/edits", data=PICTURE, files={"image": ("a.png", file.getvalue())}).json()
    assert Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))).size == (64, 64)


# vLLM-Omni


def form(http, **more):
    return http.post("/v1/videos", files={name: (None, str(value)) for name, value in {**FILM, **more}.items()})


def test_vllm_omni_ends_a_job_that_is_deleted(start):
    simulator, http = start("vllm-omni", latency=60)
    job = form(http).json()
    assert http.delete(f"/v1/videos/{job['id']}").json()["deleted"]
    simulator.advance(60)
    assert (simulator.jobs[0].status, simulator.jobs[0].deleted) == ("cancelled", True)


def test_vllm_omni_lists_prompts_and_everything_at_once(start):
    _, http = start("vllm-omni")
    for number in range(21):
        form(http, prompt=f"boat {number}")
    whole = http.get("/v1/videos").json()
    assert ({row["prompt"] for row in whole["data"]}, whole["has_more"]) == ({f"boat {n}" for n in range(21)}, False)
    assert http.get("/v1/videos", params={"limit": 20}).json()["has_more"]


def test_vllm_omni_renders_three_and_serves_one(start):
    simulator, http = start("vllm-omni")
    job = form(http, num_outputs_per_prompt=3).json()
    assert simulator.jobs[0].outputs == 3
    assert http.get(f"/v1/videos/{job['id']}/content").headers["content-type"] == "video/mp4"


def test_vllm_omni_makes_no_videos_with_several_api_servers(start):
    simulator, http = start("vllm-omni", api_servers=2)
    for answer in (form(http), http.get("/v1/videos"), http.get("/v1/videos/x"), http.delete("/v1/videos/x")):
        assert answer.status_code == 409
        assert "not supported with --api-server-count > 1" in answer.json()["detail"]
    assert http.post("/v1/images/generations", json=PICTURE).status_code == 200
    assert simulator.jobs == []


# LiteLLM


def decoded(job_id):
    return base64.b64decode(job_id.removeprefix("video_")).decode()


@pytest.mark.parametrize("operation", ["remix", "edit", "extend"])
def test_litellm_finds_jobs_made_from_others_since_their_ids_name_a_deployment(start, operation):
    simulator, http = start("litellm")
    first = http.post("/v1/videos", json=FILM).json()
    assert "model_id:sora-2" in decoded(first["id"])
    path, body = {
        "remix": (f"/v1/videos/{first['id']}/remix", {}),
        "edit": ("/v1/videos/edits", {"video": {"id": first["id"]}}),
        "extend": ("/v1/videos/extensions", {"video": {"id": first["id"]}, "seconds": "4"}),
    }[operation]
    made = http.post(path, json={"prompt": "at night", **body}).json()
    assert ";deployment_id:" in decoded(made["id"])
    assert "model_id:;" not in decoded(made["id"])
    assert http.get(f"/v1/videos/{made['id']}").json()["status"] == "completed"
    assert http.get(f"/v1/videos/{made['id']}/content").headers["content-type"] == "video/mp4"
    assert [job.operation for job in simulator.jobs] == ["generate", operation]


def test_an_older_litellm_loses_them(start):
    simulator, http = start("litellm", version="1.106.2")
    first = http.post("/v1/videos", json=FILM)
    assert first.headers["x-litellm-version"] == "1.106.2"
    made = http.post(f"/v1/videos/{first.json()['id']}/remix", json={"prompt": "at night"}).json()
    assert "model_id:;" in decoded(made["id"])
    assert "deployment_id" not in decoded(made["id"])
    assert http.get(f"/v1/videos/{made['id']}").status_code == 404
    assert len(simulator.jobs) == 2, "paid for all the same"


def test_litellm_lists_for_a_provider_and_deletes_nothing(start):
    simulator, http = start("litellm")
    job = http.post("/v1/videos", json=FILM).json()
    assert http.get("/v1/videos").status_code == 400
    [row] = http.get("/v1/videos", params={"custom_llm_provider": "openai"}).json()["data"]
    assert "prompt" not in row
    answer = http.delete(f"/v1/videos/{job['id']}")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert not simulator.jobs[0].deleted


def test_litellm_quotes_azures_moderation_as_json_in_the_message(start):
    simulator, http = start("litellm")
    answer = http.post("/v1/images/generations", json={**PICTURE, "prompt": "something forbidden"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "400")
    quoted = json.loads(error["message"][error["message"].index("{") :])["error"]
    assert (quoted["code"], quoted["moderation_details"]["moderation_stage"]) == ("moderation_blocked", "input")
    assert simulator.images == []


# Models


@pytest.mark.parametrize(
    ("profile", "status", "words"),
    [
        ("openai", 404, "The model `wan` does not exist"),
        ("vllm-omni", 400, "Model mismatch: request specifies 'wan'"),
        ("litellm", 400, "Invalid model name passed in model=wan"),
    ],
)
def test_a_model_that_is_not_served_is_refused_in_the_servers_own_words(start, profile, status, words):
    simulator, http = start(profile, models=["h3"])
    answer = form(http)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert form(http, model="h3").status_code == 200
    assert len(simulator.jobs) == 1


def test_sglang_does_not_look_at_the_name_of_a_model(start):
    simulator, http = start("sglang", models=["h3"])
    assert http.post("/v1/videos", json={**FILM, "seconds": 1}).json()["model"] == "wan"
    assert http.post("/v1/images/generations", json={**PICTURE, "model": "gpt-image-2"}).status_code == 200
    assert (len(simulator.jobs), len(simulator.images)) == (1, 1)


@pytest.mark.parametrize("path", ["/openai/v1/videos", "/openai/v1/images/generations"])
def test_an_unknown_deployment_is_not_found(start, path):
    _, http = start("openai", models=["pictures"])
    answer = http.post(path, json=FILM, headers={"api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DeploymentNotFound")
