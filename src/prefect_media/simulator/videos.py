"""The videos endpoints."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .api_errors import ApiError, bad_value, invalid, is_azure, missing, not_found_here
from .drawing.film import Film, measure, shoot, spritesheet, thumbnail
from .drawing.pictures import open_picture
from .range_requests import partial_content
from .records import Job, Operation
from .reference_inputs import picture_bytes
from .request_bodies import Body, Upload
from .rules import EXTENSION_SECONDS, LONGEST_PROMPT, reference_size_mismatch, video_family
from .state import State

_VARIANTS = {
    "video": ("video/mp4", shoot),
    "thumbnail": ("image/webp", thumbnail),
    "spritesheet": ("image/jpeg", spritesheet),
}


class Videos:
    """Handlers of /videos."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create(self, request: Request) -> Response:
        fields = Body.of(request).fields
        form = not request.headers.get("content-type", "").startswith("application/json")
        body = Body(self._state.profile.read_body(fields, form))
        outputs = self._state.profile.outputs(body.fields)
        callback = body.get("callback_url") if self._state.profile.callbacks else None
        model = body.get("model", "sora-2")
        if not isinstance(model, str) or not model:
            raise invalid("model", "Invalid type for 'model': expected a name.", code="invalid_type")
        self._state.serve(model, azure=is_azure(request.url.path))
        family = video_family(model)
        if family.fields is not None:
            body.only(family.fields)
        prompt = body.text("prompt", longest=LONGEST_PROMPT)
        size = family.check_size(body.get("size", "720x1280"))
        seconds = family.check_seconds(body.get("seconds", "4"))
        reference: bytes | None = None
        if body.get("input_reference") is not None:
            reference = await picture_bytes(body.get("input_reference"), "input_reference", self._state)
            if (await asyncio.to_thread(open_picture, reference, "input_reference")).size != size:
                raise reference_size_mismatch()
        film = Film(prompt, model, size, seconds, seed=str(body.get("seed", "")), reference=reference)
        return self._accept(request, "generate", film, outputs=outputs, callback=callback)

    async def remix(self, request: Request) -> Response:
        if not self._state.can_remix:
            return not_found_here()
        body = Body.of(request)
        prompt = body.text("prompt", longest=LONGEST_PROMPT)
        source = self._finished_job(request.path_params["id"])
        return self._accept(request, "remix", _regrade(prompt, source.film), source)

    async def edit(self, request: Request) -> Response:
        body = Body.of(request)
        prompt = body.text("prompt", longest=LONGEST_PROMPT)
        source, film = await self._footage(body)
        return self._accept(request, "edit", _regrade(prompt, film), source)

    async def extend(self, request: Request) -> Response:
        body = Body.of(request)
        prompt = body.text("prompt", longest=LONGEST_PROMPT)
        if body.get("seconds") is None:
            raise missing("seconds")
        source, film = await self._footage(body)
        family = video_family(film.model)
        if family.seconds and str(body.get("seconds")) not in EXTENSION_SECONDS:
            raise bad_value("seconds", body.get("seconds"), list(EXTENSION_SECONDS))
        more = int(body.get("seconds")) if family.seconds else family.check_seconds(body.get("seconds"))
        longer = Film(prompt, film.model, film.size, film.seconds + more, source=film, extends=True)
        return self._accept(request, "extend", longer, source)

    async def retrieve(self, request: Request) -> Response:
        job = self._job(request.path_params["id"])
        failed = self._state.profile.failed if job.status == "failed" else None
        return self._show(request, job, failed or 200)

    async def list(self, request: Request) -> Response:
        if not self._state.can_list:
            return not_found_here()
        profile = self._state.profile
        if profile.pages == "all":
            everything = [self._row(request, job) for job in self._state.jobs if not job.deleted]
            return JSONResponse({"object": "list", "data": everything})
        query = Body(dict(request.query_params))
        if profile.asks_whose and not query.get("custom_llm_provider"):
            raise ApiError(400, "custom_llm_provider is required to list videos")
        limit = query.whole("limit", 0, 100, len(self._state.jobs) if profile.page is None else profile.page)
        newest_first = query.choice("order", ("asc", "desc"), "desc") == "desc"
        jobs = [job for job in self._state.jobs if not job.deleted]
        if newest_first:
            jobs.reverse()
        if after := query.get("after"):
            ids = [job.id for job in jobs]
            if after not in ids:
                raise self._unknown(after)
            jobs = jobs[ids.index(after) + 1 :]
        page = jobs[:limit]
        rows = [self._row(request, job) for job in page]
        if profile.pages == "pages":
            return JSONResponse({"object": "list", "data": rows})
        return JSONResponse(
            {
                "object": "list",
                "data": rows,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(jobs) > len(page),
            }
        )

    async def delete(self, request: Request) -> Response:
        if not self._state.can_delete:
            return not_found_here()
        job = self._job(request.path_params["id"])
        deletes = "aborts" if self._state.can_cancel else self._state.profile.deletes
        if job.status not in ("completed", "failed") and deletes != "forgets":
            if deletes == "finished":
                raise ApiError(400, f"Video with id '{job.id}' is still being generated and can't be deleted.")
            job.cancelled = True
        job.deleted = True
        return JSONResponse(self._state.profile.deletion_body(job, _root(request)))

    async def content(self, request: Request) -> Response:
        profile = self._state.profile
        job = self._job(request.path_params["id"])
        query = Body(dict(request.query_params))
        variant = query.get("variant") if profile.variants else query.choice("variant", _VARIANTS, "video")
        if job.status == "failed":
            message = f"Video generation failed for '{job.id}', so there is no content."
            raise ApiError(profile.failed_content, message)
        if job.status != "completed":
            message = "Video is not ready yet, use GET /v1/videos/{video_id} to check status."
            raise ApiError(profile.not_ready, message)
        if job.expired:
            raise ApiError(404, f"The content of video '{job.id}' has expired.")
        if profile.variants:
            return await self._output(request, job, variant)
        media_type, develop = _VARIANTS[str(variant)]
        return partial_content(request, await asyncio.to_thread(develop, job.film), media_type)

    async def _output(self, request: Request, job: Job, variant: str | None) -> Response:
        """One of several videos, by its number."""
        number = str(variant or 0)
        if not number.isdecimal() or int(number) >= job.outputs:
            raise ApiError(404, f"Video variant {variant} not found")
        if job.in_cloud:
            link = f"{_root(request)}/cloud/{job.id}/{number}.mp4"
            raise ApiError(400, f"Video has been uploaded to cloud storage. Please use the cloud URL: {link}")
        return partial_content(request, await asyncio.to_thread(shoot, _take(job, int(number))), "video/mp4")

    async def cloud(self, request: Request) -> Response:
        """What cloud storage answers to a link: no key is asked for, and a forgotten job is still there."""
        job_id, number = request.path_params["id"], request.path_params["number"]
        job = next((job for job in self._state.jobs if job.id == job_id and job.in_cloud), None)
        if job is None or job.status != "completed" or number >= job.outputs:
            return Response(status_code=404)
        return partial_content(request, await asyncio.to_thread(shoot, _take(job, number)), "video/mp4")

    async def refuse(self, request: Request) -> Response:
        """vLLM-Omni's answer where several processes would each know other jobs."""
        raise ApiError(
            409,
            "Asynchronous video jobs is not supported with --api-server-count > 1 because "
            "the operation uses process-local frontend state",
        )

    def _accept(
        self,
        request: Request,
        operation: Operation,
        film: Film,
        source: Job | None = None,
        outputs: int = 1,
        callback: str | None = None,
    ) -> Response:
        """The moment of purchase."""
        failure: dict[str, str] | None = None
        if "forbidden" in film.prompt.lower():
            failure = {"code": "moderation_blocked", "message": "Your request was blocked by our moderation system."}
        elif "explode" in film.prompt.lower():
            failure = {"code": "server_error", "message": "The video could not be generated due to a server error."}
        job = Job(
            operation,
            film.model,
            film.prompt,
            f"{film.size[0]}x{film.size[1]}",
            str(film.seconds),
            film,
            self._state.latency,
            self._state.expires_in,
            failure,
            source.id if source else None,
            outputs,
            self._state.cloud_content,
            callback,
            id=self._state.profile.id(uuid.uuid4().hex, operation),
        )
        self._state.jobs.append(job)
        return self._show(request, job, self._state.profile.accepted)

    def _show(self, request: Request, job: Job, status: int = 200) -> Response:
        pace = self._state.poll_after_ms
        headers = {"openai-poll-after-ms": str(pace)} if pace is not None else None
        return JSONResponse(self._row(request, job), status, headers)

    def _row(self, request: Request, job: Job) -> dict[str, Any]:
        return self._state.profile.job_body(job, _root(request))

    def _unknown(self, job_id: str) -> ApiError:
        return ApiError(404, f"Video with id '{job_id}' not found.")

    def _job(self, job_id: str) -> Job:
        job = self._state.find(job_id)
        if not job or job.operation in self._state.profile.loses:
            raise self._unknown(job_id)
        return job

    def _finished_job(self, job_id: str) -> Job:
        job = self._job(job_id)
        if job.status != "completed":
            raise ApiError(400, f"Video with id '{job_id}' is not completed.", param="video")
        return job

    async def _footage(self, body: Body) -> tuple[Job | None, Film]:
        """What is to be edited or extended: a job of ours, or an uploaded clip."""
        video = body.get("video")
        if video is None:
            raise missing("video")
        if isinstance(video, Upload):
            clip = await asyncio.to_thread(measure, video.data)
            if clip is None:
                raise invalid("video", "Invalid video file.")
            return None, Film("", "sora-2", clip.size, clip.seconds, clip=video.data)
        reference = cast(dict[str, Any], video) if isinstance(video, dict) else {}
        if not isinstance(reference.get("id"), str):
            raise invalid("video", "Invalid type for 'video': expected a file or {id}.", code="invalid_type")
        job = self._finished_job(reference["id"])
        return job, job.film


def _take(job: Job, number: int) -> Film:
    """One of several videos of a job: the same request, from another seed."""
    return replace(job.film, seed=f"{job.film.seed}#{number}") if number else job.film


def _root(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _regrade(prompt: str, film: Film) -> Film:
    return Film(prompt, film.model, film.size, film.seconds, source=film)
