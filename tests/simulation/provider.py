"""A provider of images, videos and batches: it makes and charges what it takes, and may say otherwise."""

from __future__ import annotations

import base64
import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx2

from .loop import EPOCH, Process
from .media import picture, video
from .store import NOBODY
from .wire import REQUEST, ROOT, Lost

if TYPE_CHECKING:
    from .world import Run, World

RUN: ContextVar[Run] = ContextVar("what a buyer is doing")

VIDEO_USD = 0.4
TOKENS = {"input_tokens": 10, "output_tokens": 272, "input_tokens_details": {"text_tokens": 10, "image_tokens": 0}}
IMAGE_USD, LISTED_USD = 0.00821, 0.006009
"""What an image costs by its tokens, and by the list; both alone, not in a batch."""

ARRIVES = 1.0
"""Seconds after which a request that was sent has been taken, at most."""

LATE = 2.0
"""Seconds by which a request may be taken after its reply was lost, at most."""

MAKING = 15.0
"""Seconds that images take, at most."""

HANGS = 45.0
"""Seconds after which a client gives up on an answer."""

VOID = ("failed", "failed, not billed", "moderated", "expired", "no content")
"""What a job can end as that is no use to anybody."""


@dataclass(slots=True)
class Unit:
    """Something that was taken and may be charged: a video, the images of a request, or a line of a batch.

    Attributes:
        purchase: Which purchase it was made for, as only the simulation knows.
        fate: What becomes of it.
        usd: What is charged for it.
        excused: Why it may be one too many, or nowhere to be found.
    """

    id: str
    kind: str
    purchase: str
    run: Run | None
    body: Any
    sent: float
    taken: float
    ends: float
    fate: str
    usd: float
    batch: str | None = None
    deleted: float | None = None
    excused: str = ""
    breaks: int = 0

    def is_void(self, now: float) -> bool:
        """Whether it came to nothing, as anybody can see by now."""
        return self.deleted is not None or (self.fate in VOID and now >= self.ends)


@dataclass(slots=True)
class Order:
    """A batch at the provider."""

    id: str
    mark: str
    file: str
    taken: float
    ends: float
    fate: str
    lines: list[Unit] = field(default_factory=list)
    run: Run | None = None


class Provider:
    """The server of one history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.units: list[Unit] = []
        self.orders: list[Order] = []
        self.files: dict[str, list[dict[str, Any]]] = {}
        self._units_by_id: dict[str, Unit] = {}
        self._counts: dict[str, int] = {}
        self._offset = EPOCH.timestamp() + world.history.trait("server_offset")
        self._dialect = world.history.trait("dialect")
        for number in range(world.history.trait("strangers")):
            body = {"model": "sora-2", "prompt": f"of somebody else {number}", "seconds": "4", "size": "1280x720"}
            self._keep(
                Unit(f"vid_stranger{number}", "video", "", None, body, 0.0, 7.0 * number - 3, 0.0, "completed", 0.0)
            )

    async def exchange(self, process: Process, method: str, url: str, body: Any, files: Any):
        """One request: status, headers, JSON, and the pieces of a body that streams."""
        path, _, query = url[len(ROOT) :].partition("?")
        world = self.world
        if world.is_away("provider"):
            world.inject("provider: away")
            await world.pause(2.0)
            raise Lost("unreachable")
        if method == "POST":
            match path:
                case "/videos":
                    return await self._sell("post.video", process, body)
                case "/images/generations":
                    return await self._sell("post.image", process, body)
                case "/batches":
                    return await self._sell("post.batch", process, body)
                case "/files":
                    return await self._answer("file", process, lambda: self._upload(files))
        elif method == "GET":
            if path.startswith("/videos/"):
                return await self._answer("look", process, lambda: self._look(path.rpartition("/")[2]))
            if path == "/videos":
                return await self._answer("list", process, lambda: self._page(parse_qs(query)))
            if path.startswith("/batches/"):
                return await self._answer("look", process, lambda: self._batch(path.rpartition("/")[2]))
            if path == "/batches":
                return await self._answer("page", process, self._batches)
        elif method == "DELETE" and path.startswith("/videos/"):
            return await self._answer("delete", process, lambda: self._delete(path.rpartition("/")[2]))
        return 404, {}, {"error": {"message": "Not found"}}, ()

    def _fault(self, where: str, process: Process | None = None):
        nth = self._counts[where] = self._counts.get(where, 0) + 1
        if self.world.calm:
            return "", 0.0
        found = self.world.faults.get((where, nth))
        if found is None:
            return "", 0.0
        self.world.inject(found.kind)
        self.world.note(process, f"{where}: {found.what}")
        return found.what, found.arg

    @property
    def _headers(self) -> dict[str, str]:
        if not self.world.history.trait("date"):
            return {}
        there = EPOCH + timedelta(seconds=int(self.world.loop.moment + self.world.history.trait("server_offset")))
        return {"date": format_datetime(there, usegmt=True)}

    async def _answer(self, where: str, process: Process, find):
        """A request that costs nothing."""
        what, seconds = self._fault(where, process)
        await self.world.pause(self.world.jitter()[0])
        match what:
            case "":
                status, body = find()
                return status, self._headers if where in ("list", "page") else {}, body, ()
            case "500":
                return 500, {}, {"error": {"message": "out of order"}}, ()
            case "429 wait":
                return 429, {"retry-after": f"{min(seconds, 20):g}"}, {"error": {"message": "too many"}}, ()
            case "unknown":
                return 404, {}, {"error": {"message": "no such job here"}}, ()
            case "garbled":
                return 200, {}, None, ()
            case "hangs":
                await self.world.pause(HANGS)
                raise Lost("hangs")
            case _:
                raise Lost("reset")

    async def _sell(self, where: str, process: Process, body: Any):
        """A request that is paid for."""
        world, run = self.world, RUN.get()
        what, seconds = self._fault(where, process)
        sent, latency = world.loop.moment, world.jitter()[0]
        making = where == "post.image"
        takes = min(world.history.trait("took"), MAKING) if making else latency
        refusal = {
            "refused": (400, {}, {"error": {"message": "no", "code": "invalid_value"}}),
            "moderated": (400, {}, {"error": {"message": "no", "code": "moderation_blocked"}}),
            "forbidden": (401, {}, {"error": {"message": "no"}}),
            "429": (429, {}, {"error": {"message": "too many"}}),
            "429 wait": (429, {"retry-after": f"{seconds:g}"}, {"error": {"message": "too many"}}),
            "503": (503, {}, {"error": {"message": "overloaded"}}),
            "503 wait": (503, {"retry-after": f"{seconds:g}"}, {"error": {"message": "overloaded"}}),
        }.get(what)
        if refusal:
            await world.pause(latency)
            return *refusal, ()
        if what in ("unreachable", "dropped"):
            await world.pause(latency)
            raise Lost("unreachable" if what == "unreachable" else "reset")
        if what == "late":
            world.loop.call_later(latency + seconds % LATE, self._take, where, body, run, process, sent, context=NOBODY)
            await world.pause(latency)
            raise Lost("reset")
        taken = await world.landing(min(latency / 2, ARRIVES), self._take, where, body, run, process, sent)
        if isinstance(taken, tuple):
            return taken
        if what == "slow":
            takes += seconds
        if what == "lost" and seconds > 40:
            await world.pause(HANGS)
            raise Lost("hangs")
        await world.pause(takes)
        if what == "lost":
            raise Lost("reset")
        if what.startswith("lost "):
            return int(what[5:]), {}, {"error": {"message": "out of order"}}, ()
        if making:
            pieces = self._pictures(taken)
            if what == "garbled" and seconds > 40:
                pieces = (pieces[0].replace(base64.b64encode(picture(taken.id)), b"PGh0bWw+"),)  # a page, no picture
            elif what == "garbled":
                pieces = (pieces[0][: len(pieces[0]) // 2], httpx2.ReadError("reset", request=REQUEST))
            return 200, {"x-request-id": taken.id}, None, pieces
        if what == "garbled":
            return 200, {}, None, ()
        return 200, {}, self._row(taken) if where == "post.video" else self._batch(taken.id)[1], ()

    def _take(self, where: str, body: Any, run: Run, process: Process, sent: float):
        world, now = self.world, self.world.loop.moment
        if where == "post.batch":
            return self._take_batch(body, run, process, sent)
        kind = where[5:]
        fate = self._fault(f"fate.{kind}")[0] if kind == "video" else ""
        took = world.history.trait("took")
        number = len(self.units)
        unit = Unit(
            f"{kind[:3]}_{number}",
            kind,
            world.purchase_named(body["prompt"], run),
            run,
            body,
            sent,
            now,
            1e12 if fate == "stuck" else now + took * (1 + (number * 37 % 11) / 20),
            fate or "completed",
            VIDEO_USD if kind == "video" else self._image_usd(),
        )
        if fate == "failed, not billed" and self._dialect == "billed":
            unit.usd = 0.0
        self._keep(unit)
        world.watcher.took(unit, process)
        return unit

    def _image_usd(self) -> float:
        return IMAGE_USD if self.world.history.trait("usage") else LISTED_USD

    def _take_batch(self, body: Any, run: Run, process: Process, sent: float):
        world, now = self.world, self.world.loop.moment
        if body["input_file_id"] not in self.files:
            return 400, {}, {"error": {"message": "no such file"}}, ()
        fate = self._fault("fate.batch")[0]
        took = world.history.trait("took")
        order = Order(
            f"batch_{len(self.orders)}",
            body["metadata"]["prefect-media"],
            body["input_file_id"],
            now,
            1e12 if fate == "stuck" else now + took,
            fate or "completed",
            run=run,
        )
        for row in self.files[order.file]:
            what = self._fault("fate.line")[0]
            if what == "stuck":
                order.fate, order.ends = "stuck", 1e12
            made = order.fate in ("completed", "stuck") and what in ("", "no content", "half", "stuck")
            unit = Unit(
                f"line_{len(self.units)}",
                "line",
                world.purchase_of_key(row["custom_id"]),
                run,
                row["body"],
                sent,
                now,
                order.ends,
                what or order.fate,
                self._image_usd() / 2 if made else 0.0,
                batch=order.id,
            )
            order.lines.append(unit)
            self._keep(unit)
        self.orders.append(order)
        for unit in order.lines:
            world.watcher.took(unit, process)
        return order

    def unit(self, name: str) -> Unit | None:
        """What was made under a name."""
        return self._units_by_id.get(name)

    def _keep(self, unit: Unit) -> None:
        self.units.append(unit)
        self._units_by_id[unit.id] = unit

    def _upload(self, files: Any):
        name = f"file_{len(self.files)}"
        content = files[0][1][1]
        self.files[name] = [json.loads(line) for line in content.splitlines()]
        return 200, {"id": name}

    def _row(self, unit: Unit, *, listed: bool = False) -> dict[str, Any]:
        now, took = self.world.loop.moment, max(unit.ends - unit.taken, 1.0)
        row = {
            "id": unit.id,
            "status": "in_progress",
            "created_at": int(self._offset + unit.taken),
            **{name: unit.body[name] for name in ("model", "prompt", "size", "seconds") if name in unit.body},
        }
        if "duration" in row:
            row["seconds"] = row.pop("duration")
        if listed and self._dialect == "sglang":
            del row["prompt"]
        part = (now - unit.taken) / took
        if part < 0.2:
            row["status"] = "queued"
        elif part < 1 or unit.fate == "stuck":
            row["progress"] = int(100 * min(part, 0.5 if unit.fate == "stuck" else 0.99))
        elif unit.fate in ("completed", "no content", "half"):
            row["status"], row["progress"] = "completed", 100
        elif unit.fate == "expired":
            row["status"] = "expired"
        else:
            code = "moderation_blocked" if unit.fate == "moderated" else "server_error"
            row |= {"status": "failed", "error": {"code": code, "message": "it did not work"}}
        if self._dialect == "billed" and row["status"] in ("completed", "failed", "expired"):
            row["usage"] = {"cost": unit.usd}
        return row

    def _look(self, job_id: str):
        unit, now = self._units_by_id.get(job_id), self.world.loop.moment
        if unit is None or unit.deleted is not None or now - unit.taken < self.world.history.trait("known_after"):
            return 404, {"error": {"message": f"no video {job_id}"}}
        return 200, self._row(unit)

    def _page(self, query: dict[str, list[str]]):
        if self._dialect == "litellm":
            return 404, {"error": {"message": "Not Found"}}
        horizon = self.world.loop.moment - self.world.history.trait("listed_after")
        units = [unit for unit in self.units if unit.kind == "video" and unit.deleted is None and unit.taken <= horizon]
        units.sort(key=lambda unit: -unit.taken)
        if after := query.get("after"):
            place = next((place for place, unit in enumerate(units) if unit.id == after[0]), len(units))
            units = units[place + 1 :]
        size = self.world.history.trait("page")
        return 200, {"data": [self._row(unit, listed=True) for unit in units[:size]], "has_more": len(units) > size}

    def _delete(self, job_id: str):
        unit = self._units_by_id.get(job_id)
        if unit is None or unit.deleted is not None:
            return 404, {"error": {"message": f"no video {job_id}"}}
        unit.deleted = self.world.loop.moment
        if unit.deleted < unit.ends:
            unit.usd = VIDEO_USD  # it goes on and is charged: nobody can be told any more that it came to nothing
        self.world.watcher.deleted(unit, RUN.get())
        return 200, {"id": job_id, "deleted": True}

    def _batch(self, batch_id: str):
        order = next((order for order in self.orders if order.id == batch_id), None)
        if order is None:
            return 404, {"error": {"message": f"no batch {batch_id}"}}
        ended = self.world.loop.moment >= order.ends
        row: dict[str, Any] = {
            "id": order.id,
            "status": order.fate if ended else "in_progress",
            "created_at": int(self._offset + order.taken),
            "metadata": {"prefect-media": order.mark},
            "request_counts": {"total": len(order.lines), "completed": len(order.lines) if ended else 0, "failed": 0},
        }
        if ended and order.fate == "completed":
            row |= {"output_file_id": f"out_{order.id}", "error_file_id": f"err_{order.id}"}
        return 200, row

    def _batches(self):
        horizon = self.world.loop.moment - 8 * self.world.history.trait("listed_after")
        orders = [order for order in reversed(self.orders) if order.taken <= horizon]
        return 200, {"data": [self._batch(order.id)[1] for order in orders], "has_more": False}

    def _pictures(self, unit: Unit) -> tuple[bytes, ...]:
        return (json.dumps(self._images(unit)).encode(),)

    def _images(self, unit: Unit) -> dict[str, Any]:
        rows = [{"b64_json": base64.b64encode(picture(unit.id)).decode()}]
        return {"data": rows, **({"usage": TOKENS} if self.world.history.trait("usage") else {})}

    def content(self, url: str) -> tuple[bytes, str] | None:
        """What a URL holds, and how it breaks; None where there is nothing."""
        what = self._fault("content")[0]
        if what == "500" or self.world.is_away("provider"):
            return b"", "away"
        name = url[len(ROOT) :].partition("?")[0].split("/")[2]
        now = self.world.loop.moment
        if name.startswith(("out_", "err_")):
            order = next(order for order in self.orders if order.id == name[4:])
            return self._answers(order, errors=name.startswith("err_")) or b"\n", what and "cut"
        unit = self._units_by_id.get(name)
        if unit is None or unit.deleted is not None or unit.fate == "no content":
            return None
        if now > unit.ends + self.world.history.trait("kept_for"):
            unit.excused = unit.excused or "its content expired"
            return None
        unit.breaks += 1
        return video(unit.id), "cut" if what or (unit.fate == "half" and unit.breaks < 3) else ""

    def _answers(self, order: Order, *, errors: bool) -> bytes:
        lines: list[str] = []
        for row, unit in zip(self.files[order.file], order.lines, strict=True):
            line = {"custom_id": row["custom_id"]}
            if unit.fate in ("completed", "half") and not errors:
                line["response"] = {"status_code": 200, "request_id": unit.id, "body": self._images(unit)}
            elif unit.fate in ("failed", "failed, not billed") and errors:
                line["response"] = {"status_code": 500, "body": {"error": {"message": "it did not work"}}}
            elif unit.fate == "moderated" and errors:
                body = {"error": {"message": "no", "code": "moderation_blocked"}}
                line["response"] = {"status_code": 400, "body": body}
            elif unit.fate == "expired" and errors:
                line["error"] = {"code": "batch_expired", "message": "not made in time"}
            else:
                continue
            lines.append(json.dumps(line))
        return "\n".join(lines).encode()
