"""`prefect-media verify`: whether what was published is still as it was, byte by byte."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..manifest import Manifest, Verification
from .options import JsonOption
from .tables import console_for_tables, print_json


def verify(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A manifest.json or the folder it is in, such as s3://bucket/autumn.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Read and hash everything in a manifest again and print a table; exit code 1 when anything is wrong.

    Args:
        url: Address of a manifest, or of the folder it is in.
        as_json: Whether to print JSON.
    """
    manifest, verification = asyncio.run(_verify(url))
    if as_json:
        print_json(verification.model_dump(mode="json") | {"ok": verification.ok})
    else:
        _print(manifest, verification)
    if not verification.ok:
        raise typer.Exit(1)


async def _verify(url: str) -> tuple[Manifest, Verification]:
    manifest = await Manifest.aload(url)
    return manifest, await manifest.averify(strict=False)


def _print(manifest: Manifest, verification: Verification) -> None:
    console = console_for_tables()
    console.print(_table(manifest, verification))
    total = sum(asset.size_bytes for asset in manifest.assets)
    result = (
        f"{len(manifest.assets)} assets, {total / 1e6:.1f} MB: all as published"
        if verification.ok
        else f"{len(verification.wrong)} of {len(manifest.assets)} assets are not as published"
    )
    console.print(result, highlight=False)


def _table(manifest: Manifest, verification: Verification) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("asset", "bytes", "SHA-256", "found", "what is wrong"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "found")
    folder = verification.uri.rpartition("/")[0] + "/"
    for asset, finding in zip(manifest.assets, verification.findings, strict=True):
        table.add_row(
            Text(asset.uri.removeprefix(folder)),  # as text: a name may look like markup
            str(asset.size_bytes),
            asset.sha256[:12],
            Text(finding.problem or "ok", style="red" if finding.problem else "green"),
            Text(finding.detail),
        )
    return table
