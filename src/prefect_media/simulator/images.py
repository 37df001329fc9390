"""The images endpoints."""

import asyncio
import base64
import time
import uuid
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .answers import ApiError, invalid, is_azure, missing, moderated, unknown
from .bodies import Body
from .pictures import Picture, draw, open_picture
from .references import files_of, picture_bytes
from .rules import ImageFamily, image_family
from .state import ImagePurchase, State

_OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6240, "max": 8320}  # of 1024x1024
_INPUT_TOKENS = 323  # of one reference image
_MOST_REFERENCES = 16


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
            body.only({*family.fields, name, "mask"})
        sent = files_of(body.get(name))
        if not sent:
            raise missing(name)
        if len(sent) > _MOST_REFERENCES:
            raise invalid(name, f"Too many images: at most {_MOST_REFERENCES} are allowed, got {len(sent)}.")
        references = [await picture_bytes(each, name, self._state) for each in sent]
        first, *_ = [await asyncio.to_thread(open_picture, each, name) for each in references]
        mask: bytes | None = None
        if body.get("mask") is not None:
            mask = await picture_bytes(body.get("mask"), "mask", self._state)
            if open_picture(mask, "mask").size != first.size:
                raise invalid("mask", "Invalid mask image: the mask must have the same size as the first image.")
        return await self._answer(request, body, model, family, references, mask)

    async def file(self, request: Request) -> Response:
        stored = self._state.files.get(request.path_params["name"])
        if not stored:
            return Response(status_code=404)
        return Response(stored[1], media_type=stored[0])

    def _model(self, request: Request, body: Body) -> tuple[str, ImageFamily]:
        model = request.path_params.get("deployment") or body.get("model")
        if not isinstance(model, str) or not model:
            raise missing("model")
        self._state.serve(model)
        return model, image_family(model)

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
        size = family.check_size(body.get("size"))
        azure = is_azure(request.url.path)
        quality = body.get("quality", "auto")
        if family.qualities is not None:
            quality = body.choice("quality", family.qualities, "auto")
        output_format = body.choice("output_format", ("png", "jpeg") if azure else ("png", "jpeg", "webp"), "png")
        compression = body.whole("output_compression", 0, 100, 100)
        if body.get("output_compression") is not None and output_format == "png":
            raise invalid("output_compression", "Compression less than 100 is not supported for PNG output format.")
        background = body.choice("background", ("auto", "opaque", "transparent"), "auto")
        if background == "transparent" and output_format == "jpeg":
            raise invalid("background", "Transparent background is not supported for JPEG output format.")
        body.choice("moderation", ("auto", "low"), "auto")
        body.choice("style", ("vivid", "natural"), "vivid")
        by_url = body.choice(
            "response_format", ("url", "b64_json"), "url" if family.url_by_default else "b64_json"
        ) == ("url")
        if body.get("stream") in (True, "true"):
            raise ApiError(400, "The simulator does not stream images.", param="stream", code="unsupported_value")
        if "forbidden" in prompt.lower():
            raise moderated()

        operation: Literal["generate", "edit"] = "edit" if references else "generate"
        self._state.images.append(ImagePurchase(operation, model, prompt, n, f"{size[0]}x{size[1]}"))
        await asyncio.sleep(self._state.image_latency)
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
            )
            for number in range(n)
        ]
        drawn = [await asyncio.to_thread(draw, picture) for picture in pictures]
        data = [self._item(request, content, output_format, by_url) for content in drawn]
        if model == "dall-e-3":
            data = [item | {"revised_prompt": f"A detailed picture of {prompt}"} for item in data]
        answer: dict[str, Any] = {"created": int(time.time()), "data": data}
        if family.url_by_default:
            return JSONResponse(answer)
        level = ("high" if azure else "medium") if quality == "auto" else quality
        return JSONResponse(
            answer
            | {
                "background": "transparent" if transparent else "opaque",
                "output_format": output_format,
                "quality": level,
                "size": f"{size[0]}x{size[1]}",
                "usage": _usage(prompt, size, level, n, len(references)),
            }
        )

    def _item(self, request: Request, content: bytes, output_format: str, by_url: bool) -> dict[str, Any]:
        if not by_url:
            return {"b64_json": base64.b64encode(content).decode()}
        name = f"img-{uuid.uuid4().hex}.{output_format}"
        self._state.files[name] = (f"image/{output_format}", content)
        return {"url": f"{request.url.scheme}://{request.url.netloc}/files/{name}"}


def _usage(prompt: str, size: tuple[int, int], quality: str, n: int, references: int) -> dict[str, Any]:
    text, images = max(1, len(prompt) // 4), references * _INPUT_TOKENS
    output = n * max(1, round(_OUTPUT_TOKENS.get(quality, 1056) * size[0] * size[1] / 1024**2))
    return {
        "input_tokens": text + images,
        "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        "output_tokens": output,
        "output_tokens_details": {"image_tokens": output, "text_tokens": 0},
        "total_tokens": text + images + output,
    }
