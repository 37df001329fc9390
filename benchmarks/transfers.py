"""Many videos at once, from the order to the bucket: how long it takes, and what it costs the client.

    python benchmarks/transfers.py --engine floor --engine flow --jobs 100 --size 20
    python benchmarks/transfers.py --engine flow --jobs 100 --size 20 --tls
    python benchmarks/transfers.py --engine bare --images --jobs 300

Everything runs on this machine: a provider that only keeps time (load_server.py), a bucket that forgets
(s3_sink.py), Prefect's server where an engine needs one, and each engine once in a fresh process (client.py).
Every run is checked: as many objects as jobs, all of the right size and with the right hash, no upload left open.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from certificates import write_certificates
from client import ENGINES, Plan
from machine import busy_seconds, cpu_of_group, peak_of_group
from page import say
from servers import Server, WrongResult

from prefect_media.cli.demo_servers import PrefectServer

HERE = Path(__file__).parent
MB = 1_000_000
WITH_PREFECT = ("floor-flow", "flow", "submit", "submit-threads", "agather", "agather-50")
POLL_SECONDS = "1"

RECOMMENDED = {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100"}
"""What docs/performance.md tells whoever runs a server of their own; `--default-server` goes without."""


@dataclass(frozen=True)
class Case:
    """What is measured: one engine, one size of fan-out."""

    engine: str
    jobs: int
    size: float = 20.0
    """Of each video in MB (a million bytes)."""
    images: bool = False
    tls: bool = False
    local: bool = False
    """Store in a folder and not in a bucket."""
    hashing: bool = True


@dataclass
class Row:
    """What one run of a case cost; seconds, and MB of a million bytes.

    Attributes:
        wall: From the first order until all is stored; for flows, until the flow run has ended.
        cpu: Of the client's process.
        idle: Resident memory of the client with everything imported.
        peak: The most it ever had.
        longest: The longest time that a video took, which nobody can be quicker than.
        lag: Mean, p95 and max time from a video's end until its content was asked for.
        requests: To the provider, by kind.
        stored: Requests to the bucket, by kind.
        servers: CPU seconds of the provider and the bucket.
        prefect_cpu: CPU seconds of Prefect's server.
        prefect_memory: The most that Prefect's server ever had, all its processes together.
        prefect_requests: HTTP requests to Prefect's API, by method and kind.
        stall: The longest time that the client's event loop was held up, where the engine tells.
        others: Share of the machine that other programs used meanwhile, 0 to 1.
    """

    case: Case
    wall: float
    cpu: float
    idle: float
    peak: float
    longest: float
    lag: dict[str, float]
    requests: dict[str, int]
    stored: dict[str, int]
    servers: float
    prefect_cpu: float | None = None
    prefect_memory: float = 0.0
    stall: float = 0.0
    prefect_requests: dict[str, int] = field(default_factory=dict)
    others: float = 0.0

    @property
    def cpu_per_job(self) -> float:
        """Milliseconds."""
        return 1000 * self.cpu / self.case.jobs


class Bench:
    """Runs cases.

    Args:
        seed: Of the times that videos take: the same for all engines.
        seconds: Median time that a video takes.
        prefect: A server that runs; without it, one is started for the first case that needs it.
        server_settings: Settings of that server.
        pythons: The interpreter of an engine that is not in this environment.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        seconds: float = 5.0,
        prefect: PrefectServer | None = None,
        server_settings: Mapping[str, str] = RECOMMENDED,
        pythons: Mapping[str, str] | None = None,
    ) -> None:
        self._pythons = pythons or {}
        self.seed, self.seconds, self.server_settings = seed, seconds, dict(server_settings)
        self._stack = contextlib.ExitStack()
        self._prefect = prefect

    def __enter__(self) -> Bench:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="prefect-media-bench-")))
        self._ca = write_certificates(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, case: Case, *, seed: int | None = None) -> Row:
        """Run a case once.

        Raises:
            WrongResult: It did not do all that it should.
        """
        tls = ("--tls", str(self._folder)) if case.tls else ()
        times = ("--seed", str(self.seed if seed is None else seed), "--seconds", str(self.seconds))
        with (
            Server("load_server.py", "--size", str(case.size), *times, *tls) as provider,
            Server("s3_sink.py", *tls) as sink,
            tempfile.TemporaryDirectory(dir=self._folder) as folder,
        ):
            plan = Plan(
                engine=case.engine,
                kind="image" if case.images else "video",
                jobs=case.jobs,
                provider=provider.url,
                sink=sink.url,
                folder=folder if case.local else "",
                hashing=case.hashing,
            )
            prefect_before = None
            if case.engine in WITH_PREFECT:
                self._prefect_server()
                prefect_before = self._prefect_cpu()
            began, busy, ours = time.monotonic(), busy_seconds(), self._prefect_cpu()
            told = self._client(plan, tls=case.tls)
            ours = told["all_cpu"] + self._prefect_cpu() - ours
            took, busy = time.monotonic() - began, busy_seconds() - busy
            made = provider.stats(self._ca if case.tls else None)
            kept = sink.stats(self._ca if case.tls else None)
            if case.local:
                files = [path for path in Path(folder).rglob("*") if path.is_file()]
                kept["objects"] = {f"bench/{path.relative_to(folder)}": path.stat().st_size for path in files}
            check(plan, told, made, kept)
        prefect_cpu = None
        if prefect_before is not None:
            prefect_cpu = self._settled_prefect_cpu() - prefect_before
        return Row(
            case=case,
            wall=told["wall"],
            cpu=told["cpu"],
            idle=told["idle"],
            peak=told["peak"],
            longest=made["longest"],
            lag=made["lag"],
            requests=made["requests"],
            stored=kept["requests"],
            servers=made["cpu"] + kept["cpu"],
            prefect_cpu=prefect_cpu,
            prefect_memory=self._prefect_memory(),
            stall=told["more"].get("stall", 0.0),
            prefect_requests=told["more"].get("prefect_requests", {}),
            others=max(0.0, busy - ours - made["cpu"] - kept["cpu"]) / took / (os.cpu_count() or 1),
        )

    def _client(self, plan: Plan, *, tls: bool) -> dict[str, Any]:
        env = self._prefect_server().env if plan.engine in WITH_PREFECT else dict(os.environ)
        env = env | {"PREFECT_MEDIA_POLL_SECONDS": POLL_SECONDS, "NO_PROXY": "localhost", "no_proxy": "localhost"}
        if tls:
            env["SSL_CERT_FILE"] = env["AWS_CA_BUNDLE"] = str(self._ca)
        log = self._folder / f"{plan.engine}.log"
        with log.open("w") as errors:
            done = subprocess.run(
                [self._pythons.get(plan.engine, sys.executable), str(HERE / "client.py"), json.dumps(asdict(plan))],
                env=env,
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if done.returncode:
            last_words = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise WrongResult(f"{plan.engine} failed:\n{last_words}")
        return json.loads(done.stdout.splitlines()[-1])

    def _prefect_server(self) -> PrefectServer:
        if self._prefect is None:
            server = PrefectServer()
            server.env |= self.server_settings
            self._prefect = self._stack.enter_context(server)
            # A server's first flow run takes seconds longer than all that follow.
            flow = "from prefect import flow; flow(name='warm-up')(lambda: None)()"
            subprocess.run([sys.executable, "-c", flow], env=self._prefect.env, check=True, capture_output=True)
            self._settled_prefect_cpu()
        return self._prefect

    def _prefect_cpu(self) -> float:
        """CPU seconds of Prefect's server so far, with all its processes; none where there is no server yet."""
        process = self._prefect and self._prefect._process
        return cpu_of_group(process.pid) if process else 0.0

    def _prefect_memory(self) -> float:
        process = self._prefect and self._prefect._process
        return peak_of_group(process.pid) if process else 0.0

    def _settled_prefect_cpu(self) -> float:
        """The same, once the server has recorded what the run left behind and is idle."""
        now = self._prefect_cpu()
        for _ in range(60):
            before = now
            time.sleep(1)
            now = self._prefect_cpu()
            if now - before < 0.1:
                break
        return now


def check(plan: Plan, told: dict[str, Any], made: dict[str, Any], kept: dict[str, Any]) -> None:
    """Raise unless everything that was ordered is stored, once and whole, and nothing else is."""
    size, sha256 = made["sizes"][plan.kind], made["sha256"][plan.kind]
    media = {key: count for key, count in kept["objects"].items() if key.endswith(f".{plan.suffix}")}
    bought = made["requests"].get("create" if plan.kind == "video" else "image", 0)
    wrong = {key: count for key, count in media.items() if count != size}
    leftover = [key for key in kept["objects"] if "/." in key and not key.endswith(("-lock", "-swept"))]
    hashes = set(told["hashes"]) - ({""} if not plan.hashing else set())
    found = {
        f"{bought} bought": bought == plan.jobs,
        f"{len(media)} stored": len(media) == plan.jobs,
        f"not {size} bytes: {wrong}": not wrong,
        f"{len(told['hashes'])} told of": len(told["hashes"]) == plan.jobs or not plan.hashing,
        f"hashes {hashes} in place of {sha256}": hashes <= {sha256},
        f"left behind: {leftover}": not leftover,
        f"{kept['open_uploads']} open uploads": kept["open_uploads"] == 0,
        f"unknown requests: {made['requests']}, {kept['requests']}": not made["requests"].get("unknown")
        and not kept["requests"].get("unknown"),
    }
    if complaints := [text for text, fine in found.items() if not fine]:
        raise WrongResult(f"{plan.engine} with {plan.jobs} jobs: {'; '.join(complaints)}")


def line(row: Row) -> str:
    """A run in one line."""
    case = row.case
    what = "images" if case.images else f"x {case.size:g} MB"
    parts = [
        f"{case.engine:15}{case.jobs:4} {what}{' TLS' if case.tls else ''}{' folder' if case.local else ''}:",
        f"wall {row.wall:6.2f} s ({row.wall - row.longest:+.2f}),",
        f"CPU {row.cpu:6.2f} s ({row.cpu_per_job:.1f} ms each),",
        f"peak {row.peak:.0f} MB (idle {row.idle:.0f}),",
        f"lag {row.lag['mean']:.2f}/{row.lag['p95']:.2f}/{row.lag['max']:.2f} s,",
        f"requests {sum(row.requests.values())} + {sum(row.stored.values())},",
        f"servers {row.servers:.1f} s, others {row.others:.0%}",
    ]
    if row.prefect_cpu is not None:
        parts.append(f"; Prefect: {row.prefect_cpu:.1f} s, {sum(row.prefect_requests.values())} requests")
    return " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="may be given several times")
    parser.add_argument("--jobs", type=int, action="append", help="may be given several times")
    parser.add_argument("--size", type=float, default=20, help="of each video, in MB")
    parser.add_argument("--images", action="store_true", help="images in place of videos")
    parser.add_argument("--tls", action="store_true", help="provider and bucket with TLS")
    parser.add_argument("--local", action="store_true", help="store in a folder (this package's engines only)")
    parser.add_argument("--no-hash", action="store_true", help="let the floor do without SHA-256")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the times that videos take")
    parser.add_argument("--seconds", type=float, default=5.0, help="median time that a video takes")
    parser.add_argument("--default-server", action="store_true", help="Prefect's server as it comes")
    parser.add_argument("--verbose", action="store_true", help="also the requests of each kind")
    wanted = parser.parse_args()
    settings = {} if wanted.default_server else RECOMMENDED
    with Bench(seed=wanted.seed, seconds=wanted.seconds, server_settings=settings) as bench:
        for _ in range(wanted.repeat):
            for jobs in wanted.jobs or [100]:
                for engine in wanted.engine or ["floor", "flow"]:
                    case = Case(
                        engine,
                        jobs,
                        wanted.size,
                        images=wanted.images,
                        tls=wanted.tls,
                        local=wanted.local,
                        hashing=not wanted.no_hash,
                    )
                    row = bench.run(case)
                    say(line(row))
                    if wanted.verbose:
                        say(json.dumps([row.requests, row.stored, row.prefect_requests]))


if __name__ == "__main__":
    main()
