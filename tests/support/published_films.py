"""Films to publish, how they are to be served, and what a server says of the copies."""

from prefect_media import Asset

FILM = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 40
SERVED = {
    "cache_control": "public, max-age=86400",
    "tags": {"campaign": "autumn 2026", "who": "us"},
    "storage_class": "STANDARD_IA",
    "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/abc",
}


async def made(store, key="media/fox.mp4", data=FILM):
    stored = await store.storage().put(key, data, content_type="video/mp4")
    return Asset(
        uri=stored.uri,
        kind="video",
        content_type="video/mp4",
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )


def place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def served(watched, uri):
    """What the server says of an object: content, headers, tags."""
    found = watched.client.get_object(**place(uri))
    tags = watched.client.get_object_tagging(**place(uri))["TagSet"]
    return found["Body"].read(), found, {tag["Key"]: tag["Value"] for tag in tags}


async def keys(store):
    return sorted([key async for key, _ in store.storage().list()])
