"""Scripts, environments and the launches of steps as content-addressed blobs.

A blob is named by the sha256 of its content, stored once however many jobs use it, and bounded in size where it enters. `get_blob` checks
what it read against the name, so that a damaged script is never run.
"""

from __future__ import annotations

import hashlib

from penstock.store.base import (
    BLOB_MAX_BYTES,
    DIGEST_BYTES,
    ENVIRONMENT_MAX_BYTES,
    LAUNCH_MAX_BYTES,
    SCRIPT_MAX_BYTES,
    BlobTooLarge,
    StoreCorrupt,
    StoreFailed,
)


def script_blob(content: bytes) -> tuple[bytes, bytes]:
    """(digest, content) of a batch script. Raises BlobTooLarge beyond SCRIPT_MAX_BYTES."""
    return _blob(content, "batch script", SCRIPT_MAX_BYTES)


def environment_blob(content: bytes) -> tuple[bytes, bytes]:
    """(digest, content) of an environment, NAME=value joined by NUL. Raises BlobTooLarge beyond ENVIRONMENT_MAX_BYTES."""
    return _blob(content, "job environment", ENVIRONMENT_MAX_BYTES)


def launch_blob(content: bytes) -> tuple[bytes, bytes]:
    """(digest, content) of what a step was asked to be, kept while it runs. Raises BlobTooLarge beyond LAUNCH_MAX_BYTES."""
    return _blob(content, "step request", LAUNCH_MAX_BYTES)


def verified(digest: bytes, content: bytes) -> bytes:
    """The content, if it is what the digest names. Raises StoreCorrupt."""
    if hashlib.sha256(content).digest() != digest:
        raise StoreCorrupt(f"blob {digest.hex()} is damaged: its {len(content)} bytes do not have that sha256; restore from a backup")
    return content


def check_bounds(blobs: list[tuple[bytes, bytes]]) -> None:
    """What a batch may carry; a violation is a bug of the caller. Raises StoreFailed."""
    for digest, content in blobs:
        if len(digest) != DIGEST_BYTES or len(content) > BLOB_MAX_BYTES:
            raise StoreFailed(
                f"blob {digest.hex()} of {len(content)} bytes: a digest has {DIGEST_BYTES} bytes, a content at most {BLOB_MAX_BYTES}"
            )


def _blob(content: bytes, what: str, limit_bytes: int) -> tuple[bytes, bytes]:
    if len(content) > limit_bytes:
        raise BlobTooLarge(f"{what} has {len(content)} bytes; at most {limit_bytes} are allowed")
    return hashlib.sha256(content).digest(), content
