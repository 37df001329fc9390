"""The images endpoints."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from .api_errors import ApiError, invalid, is_azure, missing, moderated, unknown
from .drawing.pictures import Picture, drafts, draw, open_picture
from .records import ImagePurchase
from .reference_inputs import files_of, picture_bytes
from .request_bodies import Body
from .rules import ImageFamily, image_family
from .state import State

_OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6240, "max": 8320}  # of 1024x1024
_INPUT_TOKENS = 323  # of one reference image


class Images:
    """Handlers of /images and of the files they link to."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def generate(self, request: Request) -> Response:
        body = Body.of(request)
        model, family = self._model(request, body)
        if family.fields is not None:
            body.only(family.fields)
        return await self._answer(request, body, model, family, [], None)

    async def edit(self, request: Request) -> Response:
        body = Body.of(request)
        model, family = self._model(request, body)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        name = "images" if is_json else "image"
        if not family.edits:
            raise invalid("model", f"Invalid value: '{model}'. The model does not support image edits.")
        if family.fields is not None:
            if not is_json and body.get("moderation") is not None:
                raise unknown("moderation")  # documented for the JSON form only
            body.only({*family.fields, name, "mask"} - {"style"})
        sent = files_of(body.get(name))
        if not sent:
            raise missing(name)
        if len(sent) > family.references:
            raise invalid(name, f"Too many images: at most {family.references} are allowed, got {len(sent)}.")
        references = [await picture_bytes(each, name, self._state) for each in sent]
        first, *_ = [await asyncio.to_thread(open_picture, each, name) for each in references]
        mask = await self._overlay("mask", body, first.size)
        await self._overlay("markup", body, first.size)  # guides a hand; ours draws what it always draws
        body.choice("input_fidelity", family.fidelities, "low")
        return await self._answer(request, body, model, family, references, mask)

    async def _overlay(self, name: str, body: Body, size: tuple[int, int]) -> bytes | None:
        if body.get(name) is None:
            return None
        data = await picture_bytes(body.get(name), name, self._state)
        picture = open_picture(data, name)
        if picture.size != size:
            raise invalid(name, f"Invalid {name} image: the {name} must have the same size as the first image.")
        if "A" not in picture.getbands():
            raise invalid(name, f"Invalid {name} image: the {name} must have an alpha channel.")
        if len(data) >= 4 * 2**20:
            raise invalid(name, f"Invalid {name} image: the {name} must be smaller than 4 MB.")
        return data

    async def file(self, request: Request) -> Response:
        stored = self._state.files.get(request.path_params["name"])
        if not stored:
            return Response(status_code=404)
        return Response(stored[1], media_type=stored[0])

    def _model(self, request: Request, body: Body) -> tuple[str, ImageFamily]:
        model = request.path_params.get("deployment") or body.get("model")
        if not isinstance(model, str) or not model:
            raise missing("model")
        self._state.serve(model, azure=is_azure(request.url.path))
        return model, image_family(model if self._state.profile.no_model or is_azure(request.url.path) else "")

    async def _answer(
        self,
        request: Request,
        body: Body,
        model: str,
        family: ImageFamily,
        references: list[bytes],
        mask: bytes | None,
    ) -> Response:
        prompt = body.text("prompt", longest=family.longest)
        n = body.whole("n", 1, family.most, 1)
        azure = is_azure(request.url.path)
        quality = body.get("quality", "auto")
        if family.qualities is not None:
            quality = body.choice("quality", family.qualities, "auto")
        formats = tuple(each for each in family.formats if not azure or each in ("png", "jpeg"))
        output_format = body.choice("output_format", formats, "png")
        moving = output_format == "gif"
        for name in ("frame_count", "frame_duration_ms"):
            if body.get(name) is not None and not moving:
                raise invalid(name, f"'{name}' is only supported with output_format 'gif'.")
        frames = body.whole("frame_count", 2, 16, 9)
        size = family.check_size(body.get("size"), frames=frames if moving else 1)
        compression = body.whole("output_compression", 0, 100, 100)
        if body.get("output_compression") is not None and output_format not in ("jpeg", "webp"):
            raise invalid(
                "output_compression",
                f"Compression less than 100 is not supported for {output_format.upper()} output format.",
            )
        background = body.choice("background", ("auto", "opaque", "transparent"), "auto")
        if background == "transparent" and output_format not in ("png", "webp"):
            raise invalid(
                "background", f"Transparent background is not supported for {output_format.upper()} output format."
            )
        body.choice("moderation", ("auto", "low"), "auto")
        body.choice("complexity", ("low", "medium", "high"), "medium")
        body.choice("style", ("vivid", "natural"), "vivid")
        open_server = self._state.profile.image_links and not azure
        linked = family.url_by_default or (open_server and not references)  # SGLang's edits come with the answer
        by_url = body.choice("response_format", ("url", "b64_json"), "url" if linked else "b64_json") == "url"
        streamed = body.get("stream") in (True, "true")
        partial_images = body.whole("partial_images", 0, 3, 0)
        if streamed and (output_format in ("gif", "svg") or not family.streams):
            raise invalid("stream", "Streaming is not supported for this model or output format.")
        if output_format == "svg" and n > 1:
            raise invalid("n", "SVG generation requires n=1.")
        if mask and moving:
            raise invalid("mask", "GIF output does not support masks.")
        if "forbidden" in prompt.lower():
            raise moderated()

        operation: Literal["generate", "edit"] = "edit" if references else "generate"
        self._state.images.append(ImagePurchase(operation, model, prompt, n, f"{size[0]}x{size[1]}"))
        transparent = background == "transparent"
        pictures = [
            Picture(
                prompt,
                model,
                size,
                output_format,
                compression,
                transparent,
                number,
                str(body.get("seed", "")),
                tuple(references),
                mask,
                *((frames, body.whole("frame_duration_ms", 10, 655_350, 200)) if moving else ()),
            )
            for number in range(n)
        ]
        level = ("high" if azure else "medium") if quality == "auto" else quality
        about: dict[str, Any] = {
            "background": "transparent" if transparent else "opaque",
            "output_format": output_format,
            "quality": level,
            "size": f"{size[0]}x{size[1]}",
        }
        if safety := body.get("safety_identifier") or body.get("user"):
            about["safety_identifier"] = safety
        if streamed:
            usage = _usage(prompt, size, level, 1, len(references), partial_images)
            events = self._events(operation, pictures, partial_images, about, usage)
            return StreamingResponse(events, media_type="text/event-stream")
        await asyncio.sleep(self._state.image_latency)
        drawn = [await asyncio.to_thread(draw, picture) for picture in pictures]
        if open_server:
            return JSONResponse(self._sglang_answer(prompt, drawn, output_format, by_url))
        data = [self._item(request, content, output_format, by_url) for content in drawn]
        if model == "dall-e-3":
            data = [item | {"revised_prompt": f"A detailed picture of {prompt}"} for item in data]
        answer: dict[str, Any] = {"created": int(time.time()), "data": data}
        if family.url_by_default:
            return JSONResponse(answer)
        answer |= about | {"usage": _usage(prompt, size, level, n, len(references))}
        return JSONResponse(answer)

    def _sglang_answer(self, prompt: str, drawn: list[bytes], output_format: str, by_url: bool) -> dict[str, Any]:
        """Links lead to the server itself, and don't say where that is."""
        image_id = uuid.uuid4().hex
        self._state.drawn[image_id] = (_media_type(output_format), drawn)
        data: list[dict[str, Any]] = []
        for number, content in enumerate(drawn):
            link = f"/v1/images/{image_id}/content" + (f"?variant={number}" if len(drawn) > 1 else "")
            path = f"/srv/outputs/{image_id}_{number}.{output_format}"
            encoded = None if by_url else base64.b64encode(content).decode()
            data.append(
                {
                    "b64_json": encoded,
                    "url": link if by_url else None,
                    "revised_prompt": prompt,
                    "file_path": path,
                    "resize": None,
                }
            )
        about = {"id": image_id, "created": int(time.time())}
        return {**about, "data": data, "peak_memory_mb": None, "inference_time_s": None, "usage": None}

    async def content(self, request: Request) -> Response:
        """One of SGLang's images, by its number."""
        media_type, drawn = self._state.drawn.get(request.path_params["id"], ("", []))
        variant = request.query_params.get("variant", "0")
        if not drawn:
            raise ApiError(404, "Image not found")
        if not variant.isdecimal() or int(variant) >= len(drawn):
            raise ApiError(404, f"Image variant {variant} not found")
        return Response(drawn[int(variant)], media_type=media_type)

    async def _events(
        self,
        operation: Literal["generate", "edit"],
        pictures: list[Picture],
        partial_images: int,
        about: dict[str, Any],
        usage: dict[str, Any],
    ) -> AsyncIterator[bytes]:
        """Drafts and pictures as server-sent events, spread over the time that a picture takes."""
        kind = "image_edit" if operation == "edit" else "image_generation"
        common = {name: value for name, value in about.items() if name != "safety_identifier"}
        pause = self._state.image_latency / (partial_images + 1)
        for picture in pictures:
            made = await asyncio.to_thread(drafts, picture, partial_images)
            for number, draft in enumerate(made):
                await asyncio.sleep(pause)
                yield _event(f"{kind}.partial_image", draft, {**common, "partial_image_index": number})
            await asyncio.sleep(pause)
            yield _event(f"{kind}.completed", await asyncio.to_thread(draw, picture), {**about, "usage": usage})

    def _item(self, request: Request, content: bytes, output_format: str, by_url: bool) -> dict[str, Any]:
        if not by_url:
            return {"b64_json": base64.b64encode(content).decode()}
        name = f"img-{uuid.uuid4().hex}.{output_format}"
        self._state.files[name] = (_media_type(output_format), content)
        return {"url": f"{request.url.scheme}://{request.url.netloc}/files/{name}"}


def _media_type(output_format: str) -> str:
    return f"image/{'svg+xml' if output_format == 'svg' else output_format}"


def _event(kind: str, content: bytes, about: dict[str, Any]) -> bytes:
    row = {"type": kind, "b64_json": base64.b64encode(content).decode(), "created_at": int(time.time()), **about}
    return f"event: {kind}\ndata: {json.dumps(row)}\n\n".encode()


def _usage(
    prompt: str, size: tuple[int, int], quality: str, n: int, references: int, drafts: int | None = None
) -> dict[str, Any]:
    """Tokens of a purchase; each draft takes 100 more, and an answer without drafts says what came out."""
    text, images = max(1, len(prompt) // 4), references * _INPUT_TOKENS
    output = n * max(1, round(_OUTPUT_TOKENS.get(quality, 1056) * size[0] * size[1] / 1024**2)) + (drafts or 0) * 100
    usage: dict[str, Any] = {
        "input_tokens": text + images,
        "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        "output_tokens": output,
        "total_tokens": text + images + output,
    }
    if drafts is None:
        usage["output_tokens_details"] = {"image_tokens": output, "text_tokens": 0}
    return usage
