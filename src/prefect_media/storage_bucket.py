"""A bucket of S3 (or anything that speaks it), Google Cloud Storage or Azure, as a place to store things."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect_media.errors import StoreError
from prefect_media.storage_address import shown

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Config, S3Credential, S3Store

    from prefect_media.storage import StorageOptions

PART_BYTES = 8 * 1024 * 1024
"""A body up to this size goes up in one request, a longer one in parts of this size."""

PARTS_AT_ONCE = 4
BLOCKS_AHEAD = 2
ABORT_SECONDS = 20.0

SIGN_DAYS = 7


class Bucket:
    """The verbs of a store, on a bucket."""

    can_copy = True

    def __init__(self, scheme: str, name: str, options: "StorageOptions") -> None:
        self.name = f"{scheme}://{name}"
        self.endpoint = _endpoint(options) if scheme == "s3" else options.endpoint_url
        self.profile = options.profile or os.environ.get("AWS_PROFILE")
        with self._explained():
            self.store = _open(scheme, name, options, self.endpoint)

    async def write(self, key: str, blocks: AsyncIterator[bytes], content_type: str) -> None:
        head, size = list[bytes](), 0
        async for block in blocks:
            head.append(block)
            size += len(block)
            if size > PART_BYTES:
                break
        else:
            return await self.put(key, b"".join(head), content_type)
        return await self._write_parts(key, head, blocks, content_type)

    async def _write_parts(self, key: str, head: list[bytes], blocks: AsyncIterator[bytes], content_type: str) -> None:
        """Upload in parts, and take back the parts when the body fails or the caller is cancelled.

        The upload runs in a task of its own and is never cancelled: that would leave its parts in the bucket,
        unseen and paid for. It is told to stop through its body instead, and then aborts them itself.
        """
        from obstore import put_async

        queue = asyncio.Queue[bytes | None | _Stopped]()
        room = asyncio.Semaphore(BLOCKS_AHEAD)

        async def body() -> AsyncIterator[bytes]:
            while (block := await queue.get()) is not None:
                if isinstance(block, _Stopped):
                    raise block
                room.release()
                yield block

        upload = asyncio.ensure_future(
            put_async(
                self.store,
                key,
                body(),
                attributes={"Content-Type": content_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        )
        upload.add_done_callback(lambda _: room.release())
        try:
            for block in head:
                queue.put_nowait(block)
            async for block in blocks:
                await room.acquire()
                if upload.done():
                    break
                queue.put_nowait(block)
            queue.put_nowait(None)
            with self._explained(key):
                await asyncio.shield(upload)
        except BaseException:
            queue.put_nowait(_Stopped())
            await asyncio.wait([upload], timeout=ABORT_SECONDS)
            if upload.done() and not upload.cancelled():
                upload.exception()  # known; the reason for stopping is what counts
            raise

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        from obstore import put_async

        with self._explained(key):
            await put_async(self.store, key, data, attributes={"Content-Type": content_type}, use_multipart=False)

    async def read(self, key: str) -> bytes:
        from obstore import get_async

        with self._explained(key):
            found = await get_async(self.store, key)
            return bytes(await found.bytes_async())

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        from obstore import get_async

        with self._explained(key):
            found = await get_async(self.store, key)
            blocks = found.stream(min_chunk_size=1024 * 1024)
        while True:
            with self._explained(key):
                block = await anext(blocks, None)
            if block is None:
                return
            yield bytes(block)

    async def size(self, key: str) -> int | None:
        from obstore import head_async

        with self._explained(key):
            try:
                return (await head_async(self.store, key))["size"]
            except FileNotFoundError:
                return None

    async def copy(self, key: str, target_key: str) -> None:
        from obstore import copy_async

        with self._explained(key):
            await copy_async(self.store, key, target_key)

    async def sign(self, key: str, expires_in: timedelta) -> str | None:
        from obstore import sign_async

        if not timedelta(0) < expires_in <= timedelta(days=SIGN_DAYS):
            raise StoreError(
                f"A link can't be valid for {expires_in}; ask for {SIGN_DAYS} days at most.", transient=False
            )
        with self._explained(key):
            return await sign_async(self.store, "GET", key, expires_in)

    async def delete(self, key: str) -> None:
        from obstore import delete_async

        with self._explained(key):
            try:
                await delete_async(self.store, key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise

    async def list(self, folder: str) -> AsyncIterator[tuple[str, int]]:
        import obstore

        pages = obstore.list(self.store, folder or None)  # pyright: ignore[reportUnknownMemberType]
        while True:
            with self._explained(folder):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield found["path"], found["size"]

    async def create(self, key: str, data: bytes) -> str | None:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError

        with self._explained(key):
            try:
                return _version(dict(await put_async(self.store, key, data, mode="create")))
            except AlreadyExistsError:
                return None

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained(key):
            try:
                return _version(dict(await put_async(self.store, key, data, mode=json.loads(version))))
            except (AlreadyExistsError, PreconditionError):  # the former when two writers collide (409)
                return None

    async def fetch(self, key: str) -> tuple[bytes, str] | None:
        from obstore import get_async

        with self._explained(key):
            try:
                found = await get_async(self.store, key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return bytes(await found.bytes_async()), _version(dict(found.meta))

    @contextmanager
    def _explained(self, key: str = "") -> Generator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            # `from None`: the original quotes headers and bodies, which can hold keys and signatures
            raise explain(str(error), self.name, key, self.endpoint, self.profile) from None


class _Stopped(Exception):
    """Tells the upload that its body will not be whole."""


def _version(found: dict[str, Any]) -> str:
    return json.dumps({name: found[name] for name in ("e_tag", "version") if found.get(name)})


def _endpoint(options: "StorageOptions") -> str | None:
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    found = options.endpoint_url or next((os.environ[name] for name in named if os.environ.get(name)), None)
    return found and found.rstrip("/")


def _open(scheme: str, name: str, options: "StorageOptions", endpoint: str | None) -> "S3Store | GCSStore | AzureStore":
    from obstore.store import AzureStore, GCSStore

    plain_http = bool(endpoint and endpoint.startswith("http://"))
    client: ClientConfig = {
        "allow_http": plain_http,
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(minutes=2),
        "timeout": timedelta(minutes=10),
    }
    # short: the task that stores something is retried as a whole
    retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
    if scheme == "gs":
        return GCSStore(name, client_options=client, retry_config=retry)
    if scheme == "az":
        if endpoint:
            return AzureStore(name, config={"endpoint": endpoint}, client_options=client, retry_config=retry)
        return AzureStore(name, client_options=client, retry_config=retry)
    return _open_s3(name, options, endpoint, client, retry)


def _open_s3(
    name: str,
    options: "StorageOptions",
    endpoint: str | None,
    client: "ClientConfig",
    retry: "RetryConfig",
) -> "S3Store":
    from obstore.store import S3Store

    credentials, region = _aws_login(options)
    config: S3Config = {
        "region": region or "us-east-1",
        # the content is protected by TLS there, and hashing it again would cost more than sending it
        "unsigned_payload": not client["allow_http"],  # type: ignore[typeddict-item]
        "virtual_hosted_style_request": options.path_style is False,
    }
    if endpoint:
        host = endpoint.replace("://", f"://{name}.", 1) if options.path_style is False else endpoint
        config["endpoint"] = host
    return S3Store(name, config=config, client_options=client, retry_config=retry, credential_provider=credentials)


def _aws_login(options: "StorageOptions") -> "tuple[Callable[[], S3Credential], str | None]":
    region = options.region or os.environ.get("AWS_REGION")
    if options.access_key_id and options.secret_access_key:
        return _given(options), region or os.environ.get("AWS_DEFAULT_REGION")
    if options.access_key_id or options.secret_access_key:
        raise StoreError(
            "Only half of the AWS credentials is set; give the access key id and the secret access key.",
            transient=False,
        )
    import boto3  # pyright: ignore[reportMissingTypeStubs]
    from botocore.exceptions import BotoCoreError  # pyright: ignore[reportMissingTypeStubs]
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session: Any = boto3.Session(profile_name=options.profile, region_name=region)
        # short: botocore renews what is about to expire only when it is asked
        return Boto3CredentialProvider(session, ttl=timedelta(minutes=5)), region or session.region_name
    except ValueError:
        raise StoreError(
            "No AWS credentials were found; set them on the MediaStore block, in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or log in with a profile.",
            transient=False,
        ) from None
    except BotoCoreError as error:
        raise _login_failed(type(error).__name__, options.profile) from None


def _given(options: "StorageOptions") -> "Callable[[], S3Credential]":
    # a provider instead of settings: these would be mixed with AWS_SESSION_TOKEN of the environment
    def credentials() -> "S3Credential":
        never: datetime | None = None
        return {
            "access_key_id": options.access_key_id or "",
            "secret_access_key": options.secret_access_key or "",
            "token": options.session_token,
            "expires_at": never,
        }

    return credentials


def _login_failed(reason: str, profile: str | None) -> StoreError:
    return StoreError(
        f"The AWS login of profile {profile or 'default'} can't be used ({reason}); log in again, "
        "for example with `aws sso login`, or name another profile.",
        transient=False,
    )


_LOGIN = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthenticationFailed",
}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"}


def explain(text: str, bucket: str, key: str, endpoint: str | None, profile: str | None = None) -> StoreError:
    """What a user should know and do about an error of a bucket, without quoting it."""
    answer, _, debug = text.partition("Debug source:")
    status = _found(r"status code: (\d{3})", answer)
    code = _found(r"<Code>(\w+)</Code>", answer)
    where = f"at {shown(endpoint)}" if endpoint else "in the cloud"
    said = " ".join(filter(None, (status, code)))
    region = _found(r"<Region>([\w-]+)</Region>", answer)

    if "External AWS credential provider" in answer:
        return _login_failed(_found(r"type: <class '(?:\w+\.)*(\w+)'>", debug) or "unreadable", profile)
    if "token request" in answer or "MissingAccount" in debug:
        message = f"No credentials for {bucket} were found; log in to the cloud or set its environment variables."
    elif code in ("NoSuchBucket", "ContainerNotFound"):
        message = f"The bucket {bucket} does not exist {where}; create it or correct its name."
    elif code in _REGION or "configured region" in answer or status in ("301", "307"):
        message = f"The bucket {bucket} lives in {'the region ' + region if region else 'another region'}; "
        message += "set `region` to the bucket's."
    elif code in _LOGIN or status == "401":
        message = f"The credentials for {bucket} were refused ({said}); correct or renew them."
    elif status == "403":
        message = f"The credentials for {bucket} do not allow this ({said}); allow them to get, put, list and "
        message += "delete objects there."
    elif status == "404" or "not found" in answer[:200]:
        return StoreError(
            f"There is nothing at {bucket}/{key}; it was deleted or never stored.", transient=False, missing=True
        )
    elif code in _FULL or status == "507":
        message = f"The store of {bucket} is full ({said}); free some space or use another bucket."
    elif "kind: Connect" in debug:
        return StoreError(
            f"The store of {bucket} {where} can't be reached; check the endpoint and the network, and try again."
        )
    elif "kind: Timeout" in debug:
        return StoreError(f"The store of {bucket} {where} did not answer in time; try again.")
    elif status is None or status.startswith("5") or status in ("408", "409", "429"):
        return StoreError(f"The store of {bucket} can't be used right now ({said or 'broken connection'}); try again.")
    else:
        message = f"The store of {bucket} refused the request ({said}); check the bucket's name and the endpoint."
    return StoreError(message, transient=False)


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match and match[1]
