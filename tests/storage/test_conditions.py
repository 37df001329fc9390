"""Stores that can't keep two buyers apart are found out before anything is paid for."""

import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from buyer import MODEL, clip, connection, terms
from stores import KEY, SECRET, complaint

from prefect_media.cli.doctor import examine_store
from prefect_media.errors import StoreError
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Simulator
from prefect_media.storage import mounts as storage_mounts
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage

IMAGE = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")


class Bucket:
    """A small S3 server with the flaws that it is told to have.

    Attributes:
        kept: What is stored, by path.
        asked: Method and path of each request, with the names of its conditions.
        trouble: Asked before each request: "refuse" answers 503, "drop" does it and then hangs up without a reply.
    """

    def __init__(self, *flaws):
        self.flaws, self.kept, self.asked, self.etags = flaws, {}, [], 0
        self.trouble = lambda asked: None
        bucket, one_at_a_time = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = (
                    self.command,
                    self.path,
                    *sorted({"if-match", "if-none-match"} & {name.lower() for name in self.headers}),
                )
                bucket.asked.append(asked)
                trouble = bucket.trouble(asked)
                with one_at_a_time:
                    status, content, etag = (503, b"", "") if trouble == "refuse" else bucket.do(self, body)
                if trouble == "drop":
                    self.close_connection = True
                    return
                self.send_response(status)
                if etag and "no ETag" not in bucket.flaws:
                    self.send_header("ETag", etag)
                self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def do(self, request, body):
        """Status, content and ETag of the answer."""
        path, there = request.path, self.kept.get(request.path)
        if request.command == "PUT":
            exact = request.headers.get("If-Match")
            taken = request.headers.get("If-None-Match") and there and "ignores If-None-Match" not in self.flaws
            matches = there and there[1] == exact and "never matches" not in self.flaws
            if taken or (exact and not matches and "ignores If-Match" not in self.flaws):
                return 412, b"<Error><Code>PreconditionFailed</Code></Error>", ""
            self.etags += 1
            self.kept[path] = body, f'"{self.etags}"'
            return 200, b"", f'"{self.etags}"'
        if request.command == "POST":
            name = re.search(rb"<Key>(.*?)</Key>", body)[1]
            self.kept.pop(f"/bucket/{name.decode()}", None)
            return 200, b"<DeleteResult><Deleted><Key>" + name + b"</Key></Deleted></DeleteResult>", ""
        if "list-type" in request.path:
            return 200, b"<ListBucketResult></ListBucketResult>", ""
        return (200, *there) if there else (404, b"<Error><Code>NoSuchKey</Code></Error>", "")

    def storage(self):
        options = StorageOptions(endpoint_url=self.url, access_key_id=KEY, secret_access_key=SECRET)
        return Storage("s3://bucket/films", options)

    @property
    def probed(self):
        return [asked for asked in self.asked if "probe" in asked[1] or asked[0] == "POST"]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


pytestmark = pytest.mark.usefixtures("short_pauses")


FLAWS = {
    ("ignores If-None-Match", "ignores If-Match"): "ignores If-None-Match: * and ignores If-Match",
    ("ignores If-None-Match",): "it ignores If-None-Match: *; the same thing could be bought twice",
    ("ignores If-Match",): "it ignores If-Match; the same thing could be bought twice",
    ("never matches",): "refuses to replace what nobody changed (If-Match with the right ETag)",
    ("no ETag",): "no ETag",
}


@pytest.mark.parametrize("flaws", FLAWS, ids=" and ".join)
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_nothing_is_bought_on_a_store_that_can_not_keep_buyers_apart(kind, flaws, simulator):
    with Bucket(*flaws) as bucket:
        assert FLAWS[flaws] in await complaint(bucket.storage())
        for _ in range(2):  # a second attempt in the same process is refused as the first was
            with pytest.raises(StoreError) as caught:
                if kind == "image":
                    await asyncio.wait_for(buy_images(connection(simulator), IMAGE, bucket.storage(), terms()), 30)
                else:
                    await asyncio.wait_for(buy_video(connection(simulator), clip(), bucket.storage(), terms()), 30)
            assert FLAWS[flaws] in str(caught.value) and not caught.value.transient
    assert simulator.requests == []
    assert bucket.kept == {}


async def test_doctor_tells(configure):
    with Bucket("ignores If-Match") as bucket:
        finding = await examine_store(bucket.storage())
        assert finding.verdict == "bad" and "ignores If-Match" in finding.what and "nothing would be" in finding.remedy
        configure(trust_store=1)
        assert "PREFECT_MEDIA_TRUST_STORE" in (await examine_store(bucket.storage())).remedy


async def test_who_knows_better_is_believed(configure, simulator):
    configure(trust_store=1)
    with Bucket("ignores If-None-Match", "ignores If-Match") as bucket:
        await buy_video(connection(simulator), clip(), bucket.storage(), terms())
        assert bucket.probed == []
    assert len(simulator.jobs) == 1


async def test_tried_out_once_for_all_buyers_of_a_process(simulator):
    """Five requests, whoever comes first or asks for another folder of the bucket; nothing is left."""
    with Bucket() as bucket:
        first, other = bucket.storage(), Storage("s3://bucket/other", bucket.storage().options)
        await asyncio.gather(*(Ledger(first).storage.ensure_conditional() for _ in range(50)))
        await other.ensure_conditional()
        await buy_images(connection(simulator), IMAGE, bucket.storage(), terms())
        assert [asked[0] for asked in bucket.probed] == ["PUT", "PUT", "PUT", "PUT", "POST"]
        assert not [path for path in bucket.kept if "probe" in path]
    assert len(simulator.images) == 1


async def test_trouble_while_it_is_tried_out_is_no_verdict(simulator):
    with Bucket() as bucket:
        bucket.trouble = lambda asked: "refuse" if "if-match" in asked else None
        with pytest.raises(StoreError, match="try again") as caught:
            await buy_images(connection(simulator), IMAGE, bucket.storage(), terms())
        assert caught.value.transient
        assert bucket.kept == {} and simulator.requests == []
        bucket.trouble = lambda asked: None
        await buy_images(connection(simulator), IMAGE, bucket.storage(), terms())


@pytest.mark.parametrize("number", range(5))
async def test_a_reply_that_is_lost_while_it_is_tried_out(number, simulator):
    """The write arrived, so its retry is refused, rightly; that is no flaw."""
    with Bucket() as bucket:
        turns = iter(range(100))
        bucket.trouble = lambda asked: "drop" if next(turns) == number else None
        await buy_images(connection(simulator), IMAGE, bucket.storage(), terms())
        assert not [path for path in bucket.kept if "probe" in path]
    assert len(simulator.images) == 1


async def test_cancelled_while_it_is_tried_out(simulator):
    """The probe goes, and the next buyer tries again."""
    with Bucket() as bucket:
        began, storage = threading.Event(), bucket.storage()
        bucket.trouble = lambda asked: began.set() if "if-match" in asked else None
        trying = asyncio.create_task(storage.ensure_conditional())
        await asyncio.to_thread(began.wait, 30)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert bucket.kept == {}
        await buy_images(connection(simulator), IMAGE, storage, terms())


# Folders

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /mnt/films rw,nosuid,nodev shared:12 master:1 - fuse.sshfs user@host:/films rw,user_id=0,group_id=0
31 27 0:41 / /mnt/films\040of\0402026 rw - nfs4 nas:/films rw,vers=4.2,local_lock=none,addr=10.0.0.2
32 31 0:42 / /mnt/films\040of\0402026/old rw - nfs nas:/old rw,vers=3,nolock,local_lock=all
33 27 254:0 /srv /mnt/films/bound rw - ext4 /dev/vda rw
34 27 0:43 / /mnt/twice rw - fuse.rclone remote: rw
35 27 0:44 / /mnt/twice rw - xfs /dev/vdb rw
36 27 0:45 / /mnt/größe rw - 9p share rw,trans=virtio
broken line
37 27 0:46 / /mnt/lustre rw - lustre 10.0.0.1:/l rw,localflock
"""


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/srv/store", "ext4", None),
        ("/mnt/films", "fuse.sshfs", "/mnt/films is a file system of the type fuse.sshfs"),
        ("/mnt/films/a/b", "fuse.sshfs", "fuse.sshfs"),
        ("/mnt/films/bound/a", "ext4", None),
        ("/mnt/films2", "ext4", None),
        ("/mnt/films of 2026/a", "nfs4", None),
        ("/mnt/films of 2026/old/a", "nfs", "mounted with local_lock=all, nolock (nfs)"),
        ("/mnt/twice/a", "xfs", None),
        ("/mnt/größe", "9p", "9p"),
        ("/mnt/lustre/a", "lustre", "localflock"),
        ("/", "ext4", None),
    ],
)
def test_on_what_a_folder_is(path, kind, said):
    mount = storage_mounts.find_mount(path, TABLE)
    assert mount.kind == kind
    flaw = storage_mounts.flaw_of(mount)
    assert flaw is None if said is None else said in flaw


def test_no_table_no_verdict():
    assert storage_mounts.find_mount("/srv", "") is None


@pytest.mark.parametrize("kind", ["fuse.s3fs", "fuse.gcsfuse", "fuse.nobody-knows", "fuse", "cifs", "smb3", "vboxsf"])
def test_file_systems_whose_locks_end_at_the_mount(kind):
    assert kind in storage_mounts.flaw_of(storage_mounts.Mount("/mnt", kind))


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "nfs4", "ceph", "fuseblk", "fuse.juicefs", "unknown"]
)
def test_file_systems_that_are_accepted(kind):
    assert storage_mounts.flaw_of(storage_mounts.Mount("/mnt", kind)) is None


async def test_nothing_is_bought_on_a_shared_folder_without_shared_locks(tmp_path, monkeypatch, configure, simulator):
    """What the kernel's table says is enough; the folder itself would pass every trial."""
    table = tmp_path / "mountinfo"
    table.write_text(f"{TABLE}40 27 0:50 / {tmp_path} rw - fuse.sshfs user@host:/ rw\n")
    monkeypatch.setattr(storage_mounts, "MOUNTINFO", table)
    storage = Storage(str(tmp_path / "not made yet"))
    assert "fuse.sshfs" in await complaint(storage)
    with pytest.raises(StoreError, match=r"fuse\.sshfs.*PREFECT_MEDIA_TRUST_STORE") as caught:
        await buy_images(connection(simulator), IMAGE, storage, terms())
    assert not caught.value.transient and simulator.requests == []
    assert not (tmp_path / "not made yet").exists()
    configure(trust_store=1)
    await buy_images(connection(simulator), IMAGE, storage, terms())
    records = [path for path in tmp_path.rglob("ledger/purchases/*") if not path.name.startswith(".")]
    assert [json.loads(path.read_text())["state"] for path in records] == ["done"]
