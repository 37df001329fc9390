"""SHA-256 in hexadecimal, of what is in memory whole."""

import asyncio
import hashlib

LARGE = 1024 * 1024
"""Bytes from which on the hash takes longer than a thread costs."""


def sha256_of(content: str | bytes) -> str:
    """The hash of bytes, or of a text in UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


async def asha256_of(content: bytes) -> str:
    """The hash of bytes that may be many; blocks no event loop."""
    return sha256_of(content) if len(content) < LARGE else await asyncio.to_thread(sha256_of, content)
