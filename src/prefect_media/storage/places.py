"""The folders and buckets of this process: each is opened once, and shared by all stores in it."""

import threading
from dataclasses import replace
from pathlib import Path

from .base import Place, StorageOptions
from .bucket import Bucket
from .folder import Folder

_lock = threading.Lock()
_places: dict[tuple[str, str, StorageOptions], Place] = {}


def place_at(scheme: str, root: str, options: StorageOptions) -> Place:
    """The folder or bucket, opened at its first use.

    Raises:
        StoreError: It can't be opened with these options.
    """
    options = replace(options, public_url_base=None)  # says nothing of how to reach it
    with _lock:
        if known := _places.get((scheme, root, options)):
            return known
    place = Folder(Path(root)) if scheme == "file" else Bucket(scheme, root, options)
    with _lock:
        return _places.setdefault((scheme, root, options), place)
