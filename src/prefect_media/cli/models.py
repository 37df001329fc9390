"""`prefect-media models` and `prefect-media estimate`: what the catalog knows, for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from ..catalog.check import check
from ..catalog.data import Host, Kind, Model, Price, Status, catalog
from ..catalog.prices import Quote, quote
from ..requests import ImageRequest, VideoRequest
from .options import JsonOption, check_choice
from .tables import console_for_tables, print_json

WIDE = 150
"""Columns of a terminal from which on the details fit."""

PROMPT = "-"
"""The prompt of a request that is only estimated. Its tokens cost next to nothing."""

SHOWN: tuple[Host, ...] = ("openai", "azure")
"""The hosts whose models have dates."""

COLOURS: dict[Status, str] = {"alive": "green", "retiring": "yellow", "retired": "red", "unknown": "dim"}


def list_models(
    kind: Annotated[str | None, typer.Option(help='"image" or "video"; both if left out.', show_default=False)] = None,
    alive: Annotated[bool, typer.Option("--alive", help="Only models that OpenAI or Azure still serve.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the catalog as a table.

    Args:
        kind: Only models for "image" or "video".
        alive: Only models that still work at OpenAI or on Azure.
        as_json: Whether to print JSON.
    """
    only = None if kind is None else check_choice("kind", kind, get_args(Kind))
    models = [model for model in catalog().models.values() if only in (None, model.family.kind)]
    if alive:
        models = [model for model in models if any(model.status(host) != "retired" for host in SHOWN)]
    if as_json:
        print_json([_fields(model) for model in models])
    else:
        _print_models(models)


def _print_models(models: list[Model]) -> None:
    console = console_for_tables()
    table = Table(title=f"Models, as of {catalog().checked}", title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "OpenAI", "Azure", "successor", "USD"):
        table.add_column(heading, no_wrap=heading == "model", overflow="fold")
    details = console.width >= WIDE
    for heading in ("sizes", "quality", "formats", "n", "edits") if details else ():
        table.add_column(heading, overflow="fold")
    for model in models:
        row = [model.name, *(_standing(model, host) for host in SHOWN), model.successor or ""]
        table.add_row(*row, _price(model.price), *(_details(model) if details else ()))
    console.print(table)
    console.print("Prices of tokens are per million. Sources: catalog.toml", style="dim")
    if details:
        console.print("Formats in brackets need access to a preview.", style="dim")
    else:
        console.print("Sizes, qualities and formats are shown in a wider window, or through a pipe.", style="dim")


def print_estimate(
    model: Annotated[str, typer.Option(help="Model, such as gpt-image-2.")],
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.", show_default=False)] = None,
    quality: Annotated[str | None, typer.Option(help="Quality of an image.", show_default=False)] = None,
    n: Annotated[int, typer.Option(min=1, help="How many images.")] = 1,
    seconds: Annotated[int | None, typer.Option(min=1, help="Length of a video.", show_default=False)] = None,
    host: Annotated[str, typer.Option(help="Whose servers: openai, azure or other.")] = "openai",
    as_json: JsonOption = False,
) -> None:
    """Print what a request would cost, or why it can't be estimated; exit code 1 if it is retired or has no price.

    Args:
        model: Model or deployment.
        size: "WIDTHxHEIGHT" in pixels.
        quality: Of an image.
        n: How many images.
        seconds: Length of a video; also makes it one.
        host: Whose servers it goes to.
        as_json: Whether to print JSON.
    """
    servers: Host = check_choice("host", host, get_args(Host))
    entry = catalog().models.get(model)
    request: ImageRequest | VideoRequest
    if seconds is not None or (entry and entry.family.kind == "video"):
        request = VideoRequest(prompt=PROMPT, model=model, size=size, seconds=seconds)
    else:
        request = ImageRequest(prompt=PROMPT, model=model, size=size, quality=quality, n=n)
    if not (entry and entry.status(servers) == "retired"):  # of those, the price is history
        request = check(request, servers)
    offer = quote(request, servers)
    standing = entry.status(servers) if entry else "unknown"
    if as_json:
        end, successor = (entry.retired.get(servers), entry.successor) if entry else (None, None)
        about = {"model": model, "status": standing, "retired": end, "successor": successor}
        print_json(about | {"usd": offer.usd, "basis": offer.basis})
    else:
        _print_offer(model, entry, servers, offer)
    if standing == "retired" or offer.usd is None:
        raise typer.Exit(1)


def _print_offer(model: str, known: Model | None, servers: Host, offer: Quote) -> None:
    console, standing = Console(), known.status(servers) if known else "unknown"
    price = "unknown" if offer.usd is None else f"{offer.usd:.4f} USD"
    if known and standing in ("retired", "retiring"):
        instead = f"; use {known.successor}" if known.successor else ""
        console.print(f"{model} is {standing}: {known.retired[servers]}{instead}", highlight=False, markup=False)
    console.print(f"{price}: {offer.basis}", highlight=False, markup=False)


def _fields(model: Model) -> dict[str, Any]:
    """A model as JSON has it: what is nothing is left out of its rules."""
    return {
        "model": model.name,
        "kind": model.family.kind,
        "hosts": {host: {"status": model.status(host), "retired": model.retired.get(host)} for host in SHOWN},
        "successor": model.successor,
        "price": asdict(model.price) if model.price else None,
        "rules": {name: value for name, value in asdict(model.family).items() if value not in ((), "", None)},
    }


def _standing(model: Model, host: Host) -> str:
    status = model.status(host)
    end = f"{' until' if status == 'alive' else ''} {model.retired[host]}" if host in model.retired else ""
    return f"[{COLOURS[status]}]{status}{end}[/]"


def _details(model: Model) -> tuple[str, ...]:
    rules = model.family
    return (
        _sizes(model),
        ", ".join(rules.qualities) or ", ".join(f"{seconds} s" for seconds in rules.seconds),
        ", ".join((*rules.formats, *(f"({each})" for each in rules.preview_formats))),
        f"{rules.n_max}" if rules.kind == "image" else "",
        f"up to {rules.edit_images}" if rules.edit_images else "",
    )


def _sizes(model: Model) -> str:
    free = model.family.free_sizes
    return f"free, to {free.max_edge} px" if free else ", ".join(model.family.sizes)


def _price(price: Price | None) -> str:
    if price is None:
        return ""
    if isinstance(price.per_second, dict):
        return ", ".join(sorted({f"{each:g}/s" for each in price.per_second.values()}))
    return f"in {price.text_in:g}, out {price.image_out:g}" if price.text_in and price.image_out else ""
