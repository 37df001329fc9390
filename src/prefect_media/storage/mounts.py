"""Whether the locks of a folder's file system hold on every machine that has it mounted.

Several machines can share a folder only where a lock taken on one is seen on all. Over sshfs and its like each mount
locks for itself: every trial on one machine passes, and two machines lose each other's updates. Linux says what a
folder is on; where nobody says, as on macOS and Windows, nothing is refused.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

LOCAL_LOCKS = {
    # shares of a host with its virtual machines: locks end at the edge of the machine
    "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs",
    # Windows shares: whether a lock goes to the server depends on kernel, dialect and mount options
    "cifs", "smb3", "smbfs",
    # cluster file systems whose flock is local unless they are set up otherwise, which a mount does not show
    "beegfs", "gpfs", "orangefs", "pvfs2",
    "ncpfs", "coda",
}  # fmt: skip
"""Types of file systems that are refused."""

FUSE = {
    "fuseblk",  # a local disk, such as NTFS
    # on a folder of this machine: containers, encryption, pools of disks
    "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.mergerfs",
    # clusters that pass locks on
    "fuse.ceph-fuse", "fuse.glusterfs", "fuse.juicefs",
}  # fmt: skip
"""What is accepted of the file systems made by programs (FUSE). Without a word from the program, as with sshfs, s3fs,
rclone, gcsfuse or blobfuse, the kernel locks for one mount only."""

LOCAL_OPTIONS = {
    "nfs": {"nolock", "nocto", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "nocto", "local_lock=all", "local_lock=flock"},
    "lustre": {"localflock"},
    "gfs2": {"localflocks"},
    "ocfs2": {"localflocks"},
}
"""Mount options with which an accepted file system locks for one machine only, or shows it old content."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    point: str
    kind: str
    options: frozenset[str] = frozenset()


def find_flaw(folder: Path) -> str | None:
    """Why other machines may not see locks in `folder`, which need not exist yet; None if nothing is known of it."""
    with suppress(OSError):
        folder.exists()  # what is mounted on demand is mounted now, and is in the table then
    try:
        table = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return None
    mount = find_mount(os.path.realpath(folder), table)
    return mount and flaw_of(mount)


def find_mount(path: str, table: str) -> Mount | None:
    """The mount that holds an absolute path without links, by the text of /proc/self/mountinfo."""
    mount: Mount | None = None
    for line in table.splitlines():
        left, separator, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(tail) < 3:
            continue
        point = _unescape(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (mount is None or len(point) >= len(mount.point)):  # of two at one point, the later is on top
            mount = Mount(point, tail[0], frozenset(fields[5].split(",")) | frozenset(tail[2].split(",")))
    return mount


def flaw_of(mount: Mount) -> str | None:
    """Why other machines may not see locks on this mount; None if nothing is known of it."""
    kind = mount.kind
    if kind in LOCAL_LOCKS or kind == "fuse" or (kind.startswith("fuse.") and kind not in FUSE):
        return f"{mount.point} is a file system of the type {kind}, whose locks other machines may not see"
    if local := LOCAL_OPTIONS.get(kind, set[str]()) & mount.options:
        return f"{mount.point} is mounted with {', '.join(sorted(local))} ({kind}), so locks hold on one machine only"
    return None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
