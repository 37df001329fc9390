"""The lies that servers tell, and what has to come of each."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator

from hostile_server import HONEST, RESET, Asked, Hostile, Lie, Parts, Tell, answer, job, line, lines, own

KEY = "sk-key-that-nobody-must-see"
"""What is told to liars as the key."""


def say(body: object, status: int = 200, **more) -> Tell:
    return lambda server, asked: answer(body, status, **more)


def raw(*parts: object) -> Tell:
    return lambda server, asked: list(parts)


def first(*tells: Tell, then: Tell | None = None, route: str) -> Tell:
    """Tells one after the other, and then the last, or the truth."""

    def tell(server: Hostile, asked: Asked) -> Parts:
        number = server.count[route] - 1
        return tells[number](server, asked) if number < len(tells) else (then or HONEST[route])(server, asked)

    return tell


def off(path: str, status: int = 307) -> Tell:
    """A redirect to the stranger."""
    return lambda server, asked: answer(b"", status, Location=f"{server.stranger}{path}")


def zeros(nbytes: int) -> Iterator[bytes]:
    """So many zeros, packed."""
    packer = zlib.compressobj(9, wbits=31)
    for _ in range(nbytes // 2**20):
        yield packer.compress(bytes(2**20))
    yield packer.flush()


def bomb(kind: str = "application/json") -> Tell:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()
    return raw(head, lambda: zeros(400 * 2**20))


def flood(opening: bytes, piece: bytes, times: int) -> Tell:
    """An endless answer, nearly."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    return raw(head, opening, lambda: (piece for _ in range(times)))


def drip(pause: float = 0.3) -> Tell:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    return lambda server, asked: [head, *[part for _ in range(300) for part in (b" ", pause)]]


def fields(**lies: object) -> Tell:
    return lambda server, asked: answer({**own(server, asked), **lies})


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def pages(row: Callable[[int], dict[str, object]], count: int = 100) -> Tell:
    """Always another page."""

    def tell(server: Hostile, asked: Asked) -> Parts:
        number = server.count["list"]
        return answer({"object": "list", "has_more": True, "data": [row(number * count + n) for n in range(count)]})

    return tell


def echo(server: Hostile, asked: Asked) -> Parts:
    """The key in all the places and shapes there are."""
    forms = [KEY, f"Bearer {KEY}", base64.b64encode(KEY.encode()).decode(), KEY.upper(), f"https://x/?key={KEY}"]
    error = {"code": KEY, "type": KEY, "message": " ".join(forms), "param": KEY, "innererror": {"code": KEY}}
    body = {"id": "x", KEY: forms, "error": error, "detail": forms, "usage": {KEY: KEY}}
    return answer(body, 400, X_Request_Id=KEY, X_Echo=KEY, Retry_After=KEY, Set_Cookie=f"a={KEY}")


LOST = raw(RESET)
DOUBT, AWAY, FAILED = ("SubmissionInDoubt",), ("ProviderUnavailable",), ("JobFailed",)
ODD = {
    "null": None,
    "number": 7,
    "list": [],
    "object": {},
    "text": "x",
    "true": True,
    "deep": [[[[]]]],
    "nan": float("nan"),
}
GONE_OR_AWAY = ("JobExpired", "ProviderUnavailable", "JobTimedOut", "JobFailed")

LIES: dict[str, Lie] = {
    # -------- the order
    "create: HTML in 200": Lie({"create": say("<html>sign in</html>", kind="text/html")}, outcome=("right",)),
    "create: nothing in 200": Lie({"create": say(b"")}, outcome=("right",)),
    "create: broken JSON": Lie({"create": say('{"id": "video_0000')}, outcome=("right",)),
    "create: a list": Lie({"create": say([job()])}, outcome=("right",)),
    "create: deep JSON": Lie({"create": say(deep(100_000))}, outcome=("right",)),
    "create: 204": Lie({"create": raw(b"HTTP/1.1 204 No Content\r\n\r\n")}, outcome=("right",)),
    "create: 304": Lie({"create": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")}, outcome=("right",)),
    "create: 101": Lie({"create": raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")}),
    "create: a hundred 100s": Lie(
        {"create": lambda s, a: [b"HTTP/1.1 100 Continue\r\n\r\n" * 100, *HONEST["create"](s, a)]}, outcome=("right",)
    ),
    "create: no HTTP": Lie({"create": raw(b"220 mail.example ESMTP\r\n")}, outcome=("right",)),
    "create: the key in the status line": Lie({"create": raw(f"{KEY} HTTP/1.1 200\r\n\r\n".encode())}),
    "create: closed at once": Lie({"create": raw()}, outcome=("right",)),
    "create: reset": Lie({"create": LOST}, outcome=("right",)),
    "create: closed in the head": Lie({"create": raw(b"HTTP/1.1 200 OK\r\nContent-Le")}, outcome=("right",)),
    "create: shorter than it says": Lie(
        {"create": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"id": ')}, outcome=("right",)
    ),
    "create: broken chunks": Lie(
        {"create": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n")}, outcome=("right",)
    ),
    "create: a gzip bomb": Lie({"create": bomb()}),
    "create: JSON without end": Lie({"create": flood(b'{"id": "', b"x" * 2**20, 300)}),
    "create: drips": Lie({"create": drip()}),
    "create: an error of 10 MB": Lie(
        {"create": say({"error": {"message": "x" * 10**7}}, 400)}, outcome=("InvalidRequest",)
    ),
    "create: an error as HTML of 10 MB": Lie(
        {"create": say("<" * 10**7, 400, kind="text/html")}, outcome=("InvalidRequest",)
    ),
    "create: an error as a list": Lie({"create": say({"error": [1, {"a": []}]}, 400)}, outcome=("InvalidRequest",)),
    "create: an error as deep JSON": Lie(
        {"create": say(b'{"error": ' + deep(900) + b"}", 400)}, outcome=("InvalidRequest",)
    ),
    "create: an error whose fields are odd": Lie(
        {
            "create": say(
                {"error": {"message": [], "type": [], "code": {}, "innererror": 5, "moderation_details": "x"}}, 400
            )
        },
        outcome=("InvalidRequest",),
    ),
    "create: moderation whose fields are odd": Lie(
        {
            "create": say(
                {
                    "error": {
                        "code": "moderation_blocked",
                        "moderation_details": {"categories": 5, "moderation_stage": []},
                        "innererror": {"content_filter_result": {"hate": 5}},
                    }
                },
                400,
            )
        },
        outcome=("ContentRejected",),
    ),
    "create: a charset that is a program": Lie(
        {"create": say("<p>no", 400, kind="text/html; charset=zip")}, outcome=("InvalidRequest",)
    ),
    "create: surrogates and controls in an error": Lie(
        {"create": say('{"error": {"message": "\\ud800\\u0000\\u001b[2J\\u0007", "code": "\\udfff"}}', 400)},
        outcome=("InvalidRequest",),
    ),
    "create: the key in an error": Lie({"create": echo}),
    "create: the key in a 401": Lie(
        {"create": say({"error": {"message": f"no such key: {KEY}"}}, 401)}, outcome=("AuthenticationFailed",)
    ),
    "create: redirected to a stranger": Lie({"create": off("/v1/videos")}),
    "create: 303 to a stranger": Lie({"create": off("/v1/videos", 303)}),
    "create: redirected in circles": Lie(
        {"create": lambda s, a: answer(b"", 307, Location=f"{s.url}/videos")}, posts=25
    ),
    "create: an odd place to go": Lie({"create": say(b"", 307, Location="http://[::1/%zz\\")}),
    "create: Retry-After of 0": Lie({"create": say({}, 429, Retry_After="0")}, outcome=("RateLimited",), posts=10),
    "create: Retry-After of -1": Lie({"create": say({}, 429, Retry_After="-1")}, outcome=("RateLimited",), posts=10),
    "create: Retry-After of NaN": Lie({"create": say({}, 429, Retry_After="nan")}, outcome=("RateLimited",), posts=10),
    # No time to come back at, so the job may have been taken: it is in the list, and adopted from there.
    "create: Retry-After of 1e308": Lie({"create": say({}, 503, Retry_After="1e308")}, outcome=("right",)),
    "create: Retry-After in year 9999": Lie(
        {"create": say({}, 503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT")}, outcome=AWAY, posts=10
    ),
    "create: an empty id": Lie({"create": fields(id="")}, posts=2),
    "create: an id with slashes": Lie({"create": fields(id="../../files")}, outcome=(*DOUBT, "right")),
    "create: an id with a line break": Lie({"create": fields(id="a\r\nX: y")}, outcome=(*DOUBT, "right")),
    "create: an id with a query": Lie({"create": fields(id="a?b#c")}, outcome=(*DOUBT, "right")),
    "create: half a character as id": Lie(
        {"create": say('{"id": "\\ud800", "status": "queued"}')}, outcome=(*DOUBT, "right")
    ),
    "create: the key as id": Lie({"create": fields(id=KEY)}, outcome=(*DOUBT, "right")),
    "create: an id of a megabyte": Lie({"create": fields(id="x" * 10**6)}, outcome=(*DOUBT, "right")),
    "create: the same id for two": Lie({"create": fields(id="video_000001")}, buy="many", posts=12),
    "create: names told twice": Lie(
        {"create": say('{"id": "video_000001", "id": 7, "status": "queued", "status": "queued"}')}, outcome=("right",)
    ),
    # -------- looks
    "look: HTML": Lie({"look": say("<html>", kind="text/html")}),
    "look: nothing": Lie({"look": say(b"")}),
    "look: 204": Lie({"look": raw(b"HTTP/1.1 204 No Content\r\n\r\n")}),
    "look: deep JSON": Lie({"look": say(deep(100_000))}),
    "look: rather deep JSON": Lie(
        {"look": say(b'{"id": "video_000001", "status": "queued", "x": ' + deep(500) + b"}")}
    ),
    "look: a gzip bomb": Lie({"look": bomb()}),
    "look: drips": Lie({"look": drip()}),
    "look: redirected to a stranger": Lie({"look": off("/v1/videos/video_000001", 302)}),
    "look: another's job": Lie({"look": fields(id="video_000666")}),
    "look: unknown words": Lie({"look": fields(status="¿qué?")}, outcome=("JobTimedOut",)),
    "look: done and failed by turns": Lie(
        {
            "look": first(
                fields(status="queued"),
                fields(status="in_progress", progress=99),
                fields(status="queued", progress=1),
                route="look",
            )
        },
        outcome=("right",),
    ),
    "look: failed, with progress": Lie({"look": fields(status="failed", progress=100, error=None)}, outcome=FAILED),
    "look: progress of 1e308": Lie(
        {"look": first(fields(status="in_progress", progress=1e308), route="look")}, outcome=("right",)
    ),
    "look: numbers of 5000 digits": Lie(
        {"look": say('{"id": "video_000001", "status": "queued", "progress": ' + "9" * 5000 + "}")}
    ),
    "look: created in the year 9999": Lie({"look": fields(created_at=253402300799)}, outcome=("right",)),
    "look: created as text": Lie({"look": fields(created_at="yesterday", completed_at=[])}, outcome=("right",)),
    "look: an error as a list": Lie({"look": fields(status="failed", error=[1, [2]])}, outcome=FAILED),
    "look: an error as deep JSON": Lie(
        {"look": say(b'{"id": "video_000001", "status": "failed", "error": ' + deep(80) + b"}")}, outcome=FAILED
    ),
    "look: an error of 10 MB": Lie({"look": fields(status="failed", error={"message": "x" * 10**7})}, outcome=FAILED),
    "look: the key in a job's error": Lie(
        {"look": fields(status="failed", error={"code": KEY, "message": f"Bearer {KEY} {KEY}"}, model=KEY)},
        outcome=FAILED,
    ),
    "look: the key in the error of an HTTP 500 with the job": Lie(
        {"look": lambda s, a: answer({**own(s, a), "status": "failed", "error": {"message": KEY}}, 500)}, outcome=FAILED
    ),
    "look: come back never": Lie(
        {"look": lambda s, a: answer({**own(s, a), "status": "queued"}, **{"openai-poll-after-ms": "nan"})},
        outcome=("JobTimedOut",),
    ),
    "look: come back at once": Lie(
        {"look": lambda s, a: answer({**own(s, a), "status": "queued"}, **{"openai-poll-after-ms": "-1e9"})},
        outcome=("JobTimedOut",),
    ),
    "look: a hundred cookies": Lie(
        {"look": lambda s, a: [b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b; Domain=.0.0.2\r\n" * 90 + b"\r\n{}"]}
    ),
    "look: costs less than nothing": Lie({"look": fields(usage={"cost": -50}, cost_usd=-50)}, outcome=("right",)),
    "look: costs NaN": Lie({"look": fields(cost_usd=float("nan"), usage={"cost": float("inf")})}, outcome=("right",)),
    **{
        f"look: every field is {name}": Lie(
            {
                "look": fields(
                    **dict.fromkeys(
                        (
                            "progress",
                            "error",
                            "model",
                            "prompt",
                            "size",
                            "seconds",
                            "created_at",
                            "remixed_from_video_id",
                        ),
                        odd,
                    )
                )
            },
            outcome=("right",),
        )
        for name, odd in ODD.items()
    },
    "look: id and status of the wrong kind": Lie({"look": fields(id=["video_000001"], status={"a": 1})}),
    # -------- content
    "content: nothing": Lie({"content": say(b"", kind="video/mp4")}),
    "content: HTML": Lie({"content": say("<html>" * 1000, kind="video/mp4")}),
    "content: JSON": Lie({"content": say({"url": "http://127.0.0.2/x"})}),
    "content: a picture": Lie({"content": lambda s, a: answer(base64.b64decode(s.picture), kind="video/mp4")}),
    "content: shorter than it says": Lie(
        {"content": lambda s, a: answer(s.film[:1000], kind="video/mp4", Content_Length=len(s.film))}
    ),
    "content: longer than it says": Lie(
        {"content": lambda s, a: answer(s.film + b"x" * 1000, kind="video/mp4", Content_Length=len(s.film))},
        outcome=("right",),
    ),
    "content: a length that is none": Lie({"content": lambda s, a: answer(s.film, Content_Length="9" * 5000)}),
    "content: a hash that is none": Lie(
        {"content": lambda s, a: answer(s.film, kind="video/mp4", Repr_Digest="sha-256=:é:", Content_MD5="é")},
        outcome=("right",),
    ),
    "content: another type": Lie(
        {"content": lambda s, a: answer(s.film, kind="text/html; charset=zip")}, outcome=("right",)
    ),
    "content: a gzip bomb": Lie({"content": bomb("video/mp4")}),
    "content: redirected to a stranger": Lie({"content": off("/film.mp4", 302)}),
    "content: redirected to the metadata": Lie({"content": say(b"", 302, Location="http://169.254.169.254/latest")}),
    "content: the key in an error": Lie({"content": echo}),
    "content: 400 for ever": Lie({"content": say({"detail": "no"}, 400)}),
    # -------- lists, asked after a reply was lost
    "list: never ends": Lie({"create": LOST, "list": pages(lambda n: job(n + 50))}, outcome=DOUBT),
    "list: the same page for ever": Lie({"create": LOST, "list": pages(lambda n: job(n % 100 + 50))}, posts=2),
    "list: ten thousand of other people's": Lie(
        {
            "create": LOST,
            "list": say({"data": [job(n, prompt=f"theirs {n}") for n in range(50, 10_050)], "has_more": False}),
        },
        posts=2,
    ),
    "list: no list": Lie({"create": LOST, "list": say({"data": {"a": 1}})}, outcome=DOUBT),
    "list: rows of every kind": Lie(
        {
            "create": LOST,
            "list": say({"data": [None, 1, "x", [], {}, {"id": 5}, {"id": "a"}, deep(5).decode()], "has_more": "no"}),
        },
        posts=2,
    ),
    "list: our job with an odd id": Lie(
        {"create": LOST, "list": say({"data": [job(id="../../files")]})}, outcome=DOUBT
    ),
    "list: half characters as ids": Lie(
        {
            "create": LOST,
            "list": say('{"has_more": true, "data": [{"id": "\\ud800", "status": "queued", "prompt": "x"}]}'),
        },
        posts=2,
    ),
    "list: our job, five times": Lie(
        {"create": LOST, "list": say({"data": [job(id=f"v{n}") for n in range(5)]})}, outcome=DOUBT
    ),
    "list: redirected to a stranger": Lie({"create": LOST, "list": off("/v1/videos", 302)}),
    "list: a gzip bomb": Lie({"create": LOST, "list": bomb()}),
    "list: HTML": Lie({"create": LOST, "list": say("<html>", kind="text/html")}, outcome=DOUBT),
    "list: lies while many wait": Lie(
        {
            "list": pages(lambda n: job(n % 50, status="queued")),
            "look": first(*[fields(status="queued")] * 20, route="look"),
        },
        buy="many",
        posts=6,
    ),
    # -------- pictures
    "images: nothing": Lie({"images": say({"data": []})}, "image", DOUBT),
    "images: no list": Lie({"images": say({"data": 5})}, "image", DOUBT),
    "images: rows that are none": Lie({"images": say({"data": [1, None, "x"]})}, "image", DOUBT),
    "images: no base64": Lie({"images": say({"data": [{"b64_json": "§§§"}]})}, "image", DOUBT),
    "images: HTML in base64": Lie(
        {"images": say({"data": [{"b64_json": base64.b64encode(b"<html>").decode()}]})}, "image"
    ),
    "images: deep JSON": Lie({"images": say(deep(100_000))}, "image", DOUBT),
    "images: a gzip bomb": Lie({"images": bomb()}, "image"),
    "images: JSON without end": Lie({"images": flood(b'{"data": [{"x": "', b"x" * 2**20, 300)}, "image"),
    "images: drips": Lie({"images": drip()}, "image"),
    "images: odd words about a picture": Lie(
        {"images": lambda s, a: answer({"data": [{"b64_json": s.picture, "revised_prompt": [1]}], "usage": [1]})},
        "image",
        ("right",),
    ),
    "images: tokens below nothing": Lie(
        {
            "images": lambda s, a: answer(
                {"data": [{"b64_json": s.picture}], "usage": {"input_tokens": -(10**9), "output_tokens": float("nan")}}
            )
        },
        "image",
        ("right",),
    ),
    "images: the key in what is said": Lie(
        {
            "images": lambda s, a: answer(
                {"data": [{"b64_json": s.picture, "revised_prompt": KEY}], "usage": {KEY: KEY, "a": [KEY]}},
                X_Request_Id=KEY,
            )
        },
        "image",
        ("right",),
    ),
    "images: a link to a stranger": Lie(
        {"images": lambda s, a: answer({"data": [{"url": f"{s.stranger}/x.png"}]})}, "image"
    ),
    "images: a link to the metadata": Lie(
        {"images": say({"data": [{"url": "http://169.254.169.254/latest/x.png"}]})}, "image"
    ),
    "images: a link that is none": Lie({"images": say({"data": [{"url": {"a": "\\\\:80"}}]})}, "image"),
    "images: a link to a file": Lie({"images": say({"data": [{"url": "file:///etc/passwd"}]})}, "image"),
    "images: moderation with the key": Lie(
        {
            "images": say(
                {"error": {"code": "moderation_blocked", "message": KEY, "moderation_details": {"categories": [KEY]}}},
                400,
            )
        },
        "image",
        ("ContentRejected",),
    ),
    "images: an event stream of lies": Lie(
        {
            "images": raw(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
                f'data: {{"type": "image_generation.completed", "b64_json": 5, "usage": "{KEY}"}}\n\n'.encode(),
            )
        },
        "image",
        DOUBT,
    ),
    "images: redirected to a stranger": Lie({"images": off("/v1/images/generations")}, "image"),
    # -------- batches
    "batch: an odd id": Lie({"order": say({"id": "../files", "status": "completed"})}, "batch", DOUBT),
    "batch: odd file ids": Lie(
        {
            "batch": say(
                {
                    "id": "batch_1",
                    "status": "completed",
                    "output_file_id": "../../models",
                    "request_counts": {"total": "x"},
                }
            )
        },
        "batch",
    ),
    "batch: answers that are none": Lie({"answers": say("null\n5\n[]\n{}\n{\n" + deep(5000).decode() + "\n")}, "batch"),
    "batch: answers for others": Lie({"answers": lambda s, a: answer(line("somebody else"))}, "batch"),
    "batch: the same answer a hundred times": Lie(
        {"answers": lambda s, a: answer(line(lines(s)[0]) * 100)}, "batch", ("right",)
    ),
    "batch: the key in its errors": Lie(
        {"answers": lambda s, a: answer(line(lines(s)[0], response=None, error={"code": KEY, "message": KEY}))},
        "batch",
        FAILED,
    ),
    "batch: odd errors": Lie(
        {
            "answers": lambda s, a: answer(
                line(lines(s)[0], response={"status_code": "x", "request_id": 5, "body": [[]]})
            )
        },
        "batch",
    ),
    "batch: a list without end": Lie(
        {
            "order": LOST,
            "batches": lambda s, a: answer(
                {"has_more": True, "data": [{"id": f"b{s.count['batches']}", "status": "x", "created_at": 1e300}]}
            ),
        },
        "batch",
    ),
    # -------- what a server says of itself
    "models: lies": Lie({"models": say({"data": [{"id": [], "owned_by": {}}, 5]})}, outcome=("right",)),
    "models: no list": Lie({"models": say({"data": 5})}, outcome=("right",)),
    "models: redirected to a stranger": Lie({"models": off("/v1/models", 302)}),
    "models: deep JSON": Lie({"models": say(deep(100_000))}),
}
