"""Fields that a block does not have."""

from __future__ import annotations

import warnings

from prefect.blocks.core import Block


def warn_of_unknown_fields(block: Block) -> None:
    """Warn of every field that was given and that the block does not have.

    Blocks allow extra fields, so a typing error would pass in silence; raising would break saved documents.
    """
    for name in block.model_extra or {}:
        if not name.startswith(("_", "block_type_slug")):
            warnings.warn(
                f"{type(block).__name__} has no field {name!r}; it is ignored. "
                f"Its fields are {', '.join(type(block).model_fields)}",
                stacklevel=3,
            )
