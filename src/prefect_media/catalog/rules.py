"""What a request gets told when its model can't do it: the value, what is possible, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..requests import ImageEditRequest, ImageRequest, VideoRequest
from ..user_input import brief_repr, brief_text
from .data import Family, Host, catalog
from .sizes import GENERIC_SIZES, closest, parse_size, ratio_of

if TYPE_CHECKING:
    from ..requests import ImageEditRequest, ImageOptions, VideoRequest

GIF_FRAMES = 9
"""Frames of a GIF that says nothing of them (openai-python 3.57.0)."""

NOT_EXTRA = {
    "stream": "pass on_partial or preview to the task",
    "partial_images": "pass it to the task",
    "image": "use ImageEditRequest",
    "image[]": "use ImageEditRequest",
}
"""What would change how the answer has to be read, and what to do instead of putting it into `extra`."""

VIDEO_FIELDS = ("prompt", "model", "seconds", "size", "image")
"""What a request for a video says of itself; in `extra` it would be bought and be unknown to the ledger."""


def complaints(
    request: ImageOptions | VideoRequest,
    name: str,
    rules: Family | None,
    host: Host,
    partial_images: int = 0,
) -> list[str]:
    """Everything about a request that can't work, each as a sentence without a full stop.

    Args:
        request: What is wanted.
        name: The model's plain name.
        rules: What the model takes; None where nobody told us, and then little is refused.
        host: Whose servers it goes to.
        partial_images: How many previews are wanted.
    """

    name = brief_text(name)
    problems: list[str] = []
    if request.size and request.aspect_ratio:
        problems.append(
            f"size={brief_repr(request.size)} and aspect_ratio={brief_repr(request.aspect_ratio)} exclude each other; "
            "pass only one"
        )
    problems += _misplaced(request)
    if isinstance(request, VideoRequest):
        return problems + (_video(request, name, rules) if rules else [])
    problems += _formats(request, name, rules, host)
    if partial_images:
        problems += _previews(request, name, rules)
    return problems + (_image(request, name, rules) if rules else [])


def _video(request: VideoRequest, name: str, rules: Family) -> list[str]:
    problems = _common(request, name, rules)
    if request.seconds is not None and request.seconds not in rules.seconds:
        problems.append(f"{name} can't make seconds={request.seconds}; allowed: {_list_of(rules.seconds)}")
    return problems


def _image(request: ImageOptions, name: str, rules: Family) -> list[str]:

    problems = _common(request, name, rules)
    choices = {"quality": rules.qualities, "background": rules.backgrounds, "complexity": rules.complexities}
    if isinstance(request, ImageRequest):
        choices |= {"style": rules.styles, "moderation": rules.moderations}
    else:
        choices |= {"input_fidelity": rules.fidelities}
    for field, allowed in choices.items():
        value = getattr(request, field)
        if value is None or value in allowed:
            continue
        problems.append(
            f"{name} can't make {field}={brief_repr(value)}; allowed: {_list_of(allowed)}"
            if allowed
            else _refusal(name, field, value)
        )
    if request.safety_identifier is not None and not rules.safety_identifier:
        problems.append(_refusal(name, "safety_identifier", request.safety_identifier))
    if isinstance(request, ImageEditRequest):
        problems += _edit(request, name, rules)
    if request.output_format == "gif" and rules.gif_pixels and request.size and (size := parse_size(request.size)):
        frames = request.frame_count or GIF_FRAMES
        if size[0] * size[1] * frames > rules.gif_pixels:
            most = rules.gif_pixels // (size[0] * size[1])
            problems.append(
                f"{name} can't make frame_count={frames} of size={brief_repr(request.size)}: all frames together "
                f"have at most {rules.gif_pixels:,} pixels; "
                f"allowed: {max(most, 0)} frames of this size, or smaller ones"
            )
    return problems


def _edit(request: ImageEditRequest, name: str, rules: Family) -> list[str]:
    if not rules.edit_images:
        able = [m.name for m in catalog().models.values() if m.family.edit_images and "openai" not in m.retired]
        return [f"{name} can't edit images; those that can are {_list_of(able)}"]
    problems: list[str] = []
    if len(request.images) > rules.edit_images:
        problems.append(
            f"{name} takes at most {rules.edit_images} of images, {len(request.images)} were given; leave some out"
        )
    if request.markup is not None and not rules.markup:
        problems.append(_refusal(name, "markup", "an image"))
    if request.markup is not None and request.mask is not None:
        problems.append("mask and markup exclude each other; pass only one")
    return problems


def _common(request: ImageOptions | VideoRequest, name: str, rules: Family) -> list[str]:
    problems: list[str] = []
    gif = getattr(request, "output_format", None) == "gif"
    if complaint := _size_complaint(request.size, rules, gif=gif):
        problems.append(f"{name} can't make size={brief_repr(request.size)}: {complaint}")
    if len(request.prompt) > rules.prompt_max:
        problems.append(
            f"{name} takes a prompt of at most {rules.prompt_max:,} characters, this one has {len(request.prompt):,}; "
            "shorten it"
        )
    problems += [_refusal(name, field, request.extra[field]) for field in rules.refuses if field in request.extra]
    return problems


def _misplaced(request: ImageOptions | VideoRequest) -> list[str]:

    if isinstance(request, VideoRequest):
        problems, fields = (
            [],
            VIDEO_FIELDS,
        )  # servers have fields of their own by other names of ours, such as aspect_ratio
    else:
        problems = [
            f"extra={{{name!r}: ...}} can't be sent; {remedy}"
            for name, remedy in NOT_EXTRA.items()
            if name in request.extra
        ]
        fields = tuple(type(request).model_fields)
    own = [name for name in request.extra if name in fields]
    return problems + [
        f"extra={{{brief_repr(name)}: {brief_repr(request.extra[name])}}} is a field of its own; pass {name}=..."
        for name in own
    ]


def _formats(request: ImageOptions, name: str, rules: Family | None, host: Host) -> list[str]:
    problems: list[str] = []
    row = catalog().hosts[host]
    allowed = (*rules.formats, *rules.preview_formats) if rules else row.formats
    if row.formats:
        allowed = tuple(each for each in allowed if each in row.formats)
    if request.output_format is not None and (rules or row.formats) and request.output_format not in allowed:
        where = f" on {row.name}" if row.formats else ""
        problems.append(
            f"{name} can't make output_format={brief_repr(request.output_format)}{where}; allowed: {_list_of(allowed)}"
            if allowed
            else _refusal(name, "output_format", request.output_format)
        )
    output_format = request.output_format or "png"
    for need in catalog().needs:
        value = getattr(request, need.field, None)
        if value is None or (need.value is not None and value != need.value) or output_format in need.output_format:
            continue
        shown = (
            f"{need.field}={brief_repr(value)}" if isinstance(value, str | int) and need.field != "mask" else need.field
        )
        possible = [each for each in need.output_format if each in allowed] or list(need.output_format)
        problems.append(f"{shown} needs output_format {' or '.join(possible)}, not {output_format}")
    return problems


def _previews(request: ImageOptions, name: str, rules: Family | None) -> list[str]:
    problems: list[str] = []
    if rules and not rules.streams:
        problems.append(f"{name} shows no previews while it works; leave on_partial and preview out")
    if request.n != 1:
        problems.append(f"previews need n=1, not n={request.n}; make several requests, of different variants")
    [need] = [need for need in catalog().needs if need.field == "partial_images"]
    if request.output_format and request.output_format not in need.output_format:
        problems.append(f"previews need output_format {' or '.join(need.output_format)}, not {request.output_format}")
    return problems


def _size_complaint(size: str | None, rules: Family, *, gif: bool) -> str | None:
    if size is None or size in rules.sizes:
        return None
    edges = parse_size(size)
    if rules.free_sizes and edges:
        if gif and rules.gif_pixels and all(edges):  # frames are small, so the area of one has no lower limit
            step = rules.free_sizes.multiple
            return f"both edges must be multiples of {step}" if edges[0] % step or edges[1] % step else None
        complaint = rules.free_sizes.complaint(*edges)
        return f"{complaint}; {rules.free_sizes.nearest(*edges)} is near it" if complaint else None
    return f"allowed: {_list_of(rules.sizes)}"


def size_for(aspect_ratio: str, rules: Family | None) -> str:
    """The best size a model has for an aspect ratio such as "16:9"."""
    ratio = ratio_of(aspect_ratio)
    if rules and rules.free_sizes:
        return rules.free_sizes.best(ratio)
    return closest(rules.sizes if rules else GENERIC_SIZES, ratio)


def _refusal(name: str, field: str, value: object) -> str:
    instead = catalog().instead.get(field)
    return f"{name} does not take {field} (given: {brief_repr(value)}); leave it out" + (
        f", and {instead}" if instead else ""
    )


def _list_of(values: Any) -> str:
    return ", ".join(str(value) for value in values)
