"""From what a user passes to a task to what a purchase needs: blocks by name, the store, the scope."""

from __future__ import annotations

import asyncio
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from prefect.blocks.core import Block
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect_media.blocks.credentials import AzureOpenAICredentials, OpenAICredentials
from prefect_media.blocks.store import MediaStore, saved_store
from pydantic import BaseModel, ValidationError

from prefect_media.budget import Budget
from prefect_media.errors import InvalidRequest
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import OnDoubt, OnPartial, PurchaseOptions
from prefect_media.requests import MediaRequest, problems_of
from prefect_media.runtime import clock
from prefect_media.settings import settings
from prefect_media.steps import OnStep
from prefect_media.storage.address import is_address
from prefect_media.storage.store import Storage, storage_at
from prefect_media.user_input import brief_repr, fault_of

from .background_runs import background_run_id
from .current_run import run_logger
from .per_run import once_per_run

M = TypeVar("M", bound=BaseModel)

Credentials = OpenAICredentials | AzureOpenAICredentials | str
Store = MediaStore | Block | str | Path

MANY = "; for many at once, use .map, agather or gather"

LONGEST_NAME = 4096
"""Characters of the name of a block, or the address of a store, at most: as Linux has it for paths."""

THIS_PROCESS = f"process:{clock.new_id()}"

_warned = False


async def connection_to(credentials: Credentials) -> Connection:
    """The connection behind credentials, which may be a block or the name of a saved one."""
    return (await credentials_block(credentials)).connection()


async def credentials_block(credentials: Credentials) -> OpenAICredentials | AzureOpenAICredentials:
    """The block of credentials, which may be given by the name of a saved one; loaded once per flow run."""
    if not isinstance(credentials, str | OpenAICredentials | AzureOpenAICredentials):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(
            f"credentials is {a_kind(credentials)}; pass OpenAICredentials, AzureOpenAICredentials or the name of "
            "saved ones; nothing was sent"
        )
    if not isinstance(credentials, str):
        return credentials
    if fault := _fault_of_name(credentials):
        raise InvalidRequest(f"credentials={brief_repr(credentials)} is not possible: {fault}; nothing was sent")
    return await once_per_run(f"credentials:{credentials}", lambda: _saved_credentials(credentials))


async def _saved_credentials(credentials: str) -> OpenAICredentials | AzureOpenAICredentials:
    slug, _, name = credentials.rpartition("/")
    for kind in (OpenAICredentials, AzureOpenAICredentials):
        if slug not in ("", kind.get_block_type_slug()):
            continue
        try:
            return await kind.aload(name)
        except ValueError:
            continue
    raise InvalidRequest(
        f"there is no saved block {brief_repr(credentials)} of the types openai-media-credentials and "
        "azure-openai-media-credentials; save one, or see prefect block ls"
    )


async def storage_for(store: Store | None) -> Storage:
    """The storage behind a store: a block, the name of a saved one, a URL or folder, or the default."""
    if store is None:
        store = settings().store or str(get_current_settings().home / "media")
    block = await store_block(store)
    return storage_at(block) if isinstance(block, str) else block.storage()


async def store_block(store: Store) -> MediaStore | str:
    """The block of a store that is given by the name of a saved one, loaded once per flow run; else what was given."""
    if isinstance(store, str | Path) and (fault := _fault_of_name(str(store))):
        raise InvalidRequest(f"store={brief_repr(str(store))} is not possible: {fault}; nothing was sent")
    if isinstance(store, Path):
        return str(store.absolute())
    if isinstance(store, Block) and not isinstance(store, MediaStore):
        store = _bucket(store)
    if not isinstance(store, str | MediaStore):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(
            f"store is {a_kind(store)}; pass a MediaStore, the name of a saved one, a bucket block of prefect-aws, "
            "prefect-gcp or prefect-azure, a URL or a folder; nothing was sent"
        )
    if isinstance(store, MediaStore) or is_address(store):
        return store
    if not store:
        raise InvalidRequest('store="" is empty; leave it out for the default one; nothing was sent')
    return await once_per_run(f"store:{store}", lambda: saved_store(store))


def _bucket(block: Block) -> MediaStore:
    try:
        return MediaStore.from_bucket(block)
    except TypeError as error:
        raise InvalidRequest(f"store is {a_kind(block)}: {error}; nothing was sent") from None


async def purchase_options(
    *,
    scope: str = "forever",
    timeout: timedelta | float,
    queue_timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
    on_partial: OnPartial | None = None,
    partial_images: int = 0,
    on_step: OnStep | None = None,
) -> PurchaseOptions:
    """The options of a purchase in the current run, from the keywords of a task; see `agenerate_video` for them.

    Raises:
        InvalidRequest: A value can't work; nothing was sent.
    """
    usual = ("run", "forever")
    is_named = isinstance(scope, str) and scope  # pyright: ignore[reportUnnecessaryIsInstance]
    fault = fault_of(scope)
    if not is_named or fault or (scope.lower() in usual and scope not in usual):
        why = f": {fault}" if fault else ""
        raise InvalidRequest(
            f'scope={brief_repr(scope)} is not possible{why}; pass "run", "forever" or a name of your own'
        )
    if on_doubt not in ("raise", "resubmit"):
        raise InvalidRequest(f'on_doubt={brief_repr(on_doubt)} is not possible; pass "raise" or "resubmit"')
    if on_partial is not None and partial_images not in (1, 2, 3):
        raise InvalidRequest(f"partial_images={partial_images} is not possible; pass 1, 2 or 3; nothing was sent")
    run_id = await root_flow_run_id()
    return PurchaseOptions(
        scope=await _scope(scope, run_id),
        timeout=seconds_of("timeout", timeout),
        queue_timeout=None if queue_timeout is None else seconds_of("queue_timeout", queue_timeout),
        on_doubt=on_doubt,
        budget=_budget(budget),
        retry_failed=retry_failed,
        cancel_remote=cancel_remote,
        flow_run_id=run_id,
        flow_name=_flow_name(),
        on_partial=on_partial,
        partial_images=partial_images if on_partial is not None else 0,
        on_step=on_step,
        logger=run_logger(),
    )


def _fault_of_name(name: str) -> str | None:
    """Why something can be neither a path nor the name of a block."""
    too_long = f"it has {len(name):,} characters; at most {LONGEST_NAME:,} are allowed"
    return fault_of(name) or (too_long if len(name) > LONGEST_NAME else None)


def seconds_of(name: str, time: timedelta | float) -> float:
    """A time in seconds, if it can be waited for."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if not isinstance(seconds, int | float) or not seconds > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"{name}={brief_repr(time)} is not a time to wait; pass seconds or a timedelta above 0")
    return float(seconds)


def check_kind(value: Any, *kinds: type[M], name: str = "request", hint: str = "") -> Any:
    """What a task was given, if it is of one of these kinds; a dict, as JSON has it, is made one of the first.

    The engine puts the results of futures into a request without a check; they are checked here.

    Raises:
        InvalidRequest: It is something else; nothing was sent.
    """
    try:
        if isinstance(value, kinds):
            return value.with_results() if isinstance(value, MediaRequest) else value
        if isinstance(value, dict) and len(kinds) == 1:
            return kinds[0].model_validate(value)
    except ValidationError as error:
        kind = next((each for each in kinds if isinstance(value, each)), kinds[0])
        raise InvalidRequest(f"{name} is no {kind.__name__}: {problems_of(error)}; nothing was sent") from None
    names, actual = " or ".join(_a(kind) for kind in kinds), cast(object, value)
    raise InvalidRequest(f"{name} is {a_kind(actual)}; pass {names}{hint}; nothing was sent")


def a_kind(value: object) -> str:
    """What kind of thing something is, for complaints; never the thing itself, which may be a secret."""
    return "None" if value is None else _a(type(value))


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


def _budget(budget: Budget | float | None) -> Budget | None:
    if budget is None or isinstance(budget, Budget):
        return budget
    try:
        return Budget(usd=budget)
    except ValidationError:
        raise InvalidRequest(
            f"budget={brief_repr(budget)} is not possible; pass a Budget, or USD as a number of 0 or more"
        ) from None


async def root_flow_run_id() -> str | None:
    """The id of the outermost flow run, so that a restarted subflow stays inside the same purchase scope."""
    if not flow_run.id:
        return None
    # In a thread: for subflows Prefect asks its API here and would block the event loop.
    return await once_per_run("root", lambda: asyncio.to_thread(lambda: str(flow_run.root_flow_run_id)))


def _flow_name() -> str | None:
    """The name of the flow around this task, where it is known without asking the API for it."""
    context = FlowRunContext.get()
    return context.flow.name if context and context.flow else None


async def _scope(scope: str, run_id: str | None) -> str:
    global _warned
    if scope != "run":
        return scope if scope == "forever" else f"named:{scope}"
    if run_id or (run_id := await background_run_id()):
        return f"run:{run_id}"
    if not _warned:
        _warned = True
        warnings.warn(
            'scope="run" outside of a flow run means this process: a purchase is found again only until it ends. '
            'Call the task in a flow, or pass scope="forever" or a name of your own',
            stacklevel=2,
        )
    return THIS_PROCESS
