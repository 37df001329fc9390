"""What our tasks do on one of Prefect's task runners, in a process of its own; see tests/tasks/test_task_runners.py.

    python tests/support/runner_checks.py DaskTaskRunner

It prints two lines of JSON: what came of a flow, and the id of a second flow run that waits until it is cancelled.
The provider's credentials and the store are the blocks named "runners".
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psutil
from prefect import flow, unmapped
from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from prefect_media import (
    ContentRejected,
    ImageRequest,
    MediaStore,
    MediaTaskRunner,
    OpenAICredentials,
    VideoRequest,
    generate_images,
    generate_video,
)

NAME = "runners"
MANY = 40
WORKERS = 2


def clip(prompt: str, **fields: Any) -> VideoRequest:
    return VideoRequest(prompt=prompt, model="boats-1", seconds=1, size="64x64", **fields)


def still(prompt: str) -> ImageRequest:
    return ImageRequest(prompt=prompt, model="boats-1", size="64x64")


def runner_named(name: str) -> TaskRunner[Any]:
    match name:
        case "ThreadPoolTaskRunner":
            return ThreadPoolTaskRunner(max_workers=8)
        case "ProcessPoolTaskRunner":
            return ProcessPoolTaskRunner(max_workers=WORKERS)
        case "DaskTaskRunner":
            from prefect_dask import DaskTaskRunner

            return DaskTaskRunner(
                cluster_kwargs={"n_workers": WORKERS, "threads_per_worker": 4, "dashboard_address": None}
            )
        case "RayTaskRunner":
            from prefect_ray import RayTaskRunner

            return RayTaskRunner(init_kwargs={"num_cpus": WORKERS, "include_dashboard": False})
        case _:
            return MediaTaskRunner()


@flow(name="runner-checks", persist_result=False)
def use_tasks() -> dict[str, Any]:
    """One purchase of each kind that is worth a look, and many of the cheapest."""
    here = {"credentials": NAME, "store": NAME}
    values: dict[str, Any] = {"credentials": OpenAICredentials.load(NAME), "store": MediaStore.load(NAME)}
    began = time.monotonic()
    first = generate_images.submit(request=still("first"), **here)
    first.result()
    seconds_to_first = time.monotonic() - began

    same = [generate_video.submit(request=clip("the same"), **here) for _ in range(4)]
    equal = {future.result().uri for future in same}
    prompts = ["red", "green", "blue"]
    mapped = generate_video.map(unmapped(values["credentials"]), [clip(each) for each in prompts], store=NAME).result()
    by_value = generate_video.submit(request=clip("by value"), **values).result()
    # Dask has futures of its own, which a request does not take: there the result goes in.
    image = first.result()[0] if FlowRunContext.get().task_runner.name == "dask" else first  # pyright: ignore
    from_future = generate_video.submit(request=clip("it moves", image=image), **here).result()
    try:
        generate_video.submit(request=clip("forbidden"), **here).result()
    except ContentRejected as error:
        rejection = error.stage

    began = time.monotonic()
    futures = [generate_images.submit(request=still(f"number {number}"), **here) for number in range(MANY)]
    pictures = {future.result()[0].uri for future in futures}
    seconds = time.monotonic() - began
    return {
        "flow_run_id": str(FlowRunContext.get().flow_run.id),  # pyright: ignore
        "equal": len(equal),
        "mapped": [video.source.job_id for video in mapped],
        "by_value": by_value.source.job_id,
        "from_future": from_future.source.reference_uri,
        "rejection": rejection,
        "pictures": len(pictures),
        "seconds to the first result": round(seconds_to_first, 1),
        f"seconds for {MANY} images": round(seconds, 1),
        **memory(),
    }


def memory() -> dict[str, int]:
    """Of this process and all that it started; shared pages are counted in each."""
    everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {"processes": len(everyone), "MB": round(sum(each.memory_info().rss for each in everyone) / 1e6)}


@flow(name="runner-checks-cancelled", persist_result=False)
def wait_for_ever() -> None:
    say(str(FlowRunContext.get().flow_run.id))  # pyright: ignore
    futures = [  # not more than there are workers
        generate_video.submit(NAME, clip("endless"), store=NAME),
        generate_video.submit(NAME, clip("until cancelled"), store=NAME, cancel_remote=True),
    ]
    for future in futures:
        future.wait()


def say(words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    runner = runner_named(sys.argv[1])
    say(use_tasks.with_options(task_runner=runner)())
    sys.stdin.readline()  # until the provider is as slow as the second flow needs it
    wait_for_ever.with_options(task_runner=runner.duplicate())()
