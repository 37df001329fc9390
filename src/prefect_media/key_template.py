"""How the keys of media are made up: the template of the settings, checked before anything is bought."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


DEFAULT_TEMPLATE = "{date}/{run}/{index}-{words}-{hash}"


LONGEST: dict[str, int] = {
    "date": 10,
    "year": 4,
    "month": 2,
    "day": 2,
    "run": 49,
    "flow": 40,
    "index": 9,
    "words": 40,
    "hash": 8,
    "kind": 5,
    "operation": 8,
    "model": 40,
}
"""The fields of a template, with the most letters they come to."""


NEEDED = {
    "hash": "tells purchases apart that were made on the same day from the same words",
    "index": "tells the images of one request apart",
}


NAME_MOST = 200
"""Letters of one name between slashes. File systems take 255 bytes, and our sidecars need some of them."""


KEY_MOST = 600
"""Letters of a key. S3 takes 1024 bytes, and the store's prefix needs some of them."""


def check_template(template: str) -> str:
    """A template of keys that can work, as it is.

    Raises:
        ValueError: What is wrong with it, and what is possible.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is not a valid template ({error}); write fields such as {{date}}") from None
    fields = [name for _, name, _, _ in parsed if name is not None]
    if unknown := [name for name in fields if name not in LONGEST]:
        added = "; the ending, such as .mp4, is added by itself" if set(unknown) & {"ext", "suffix"} else ""
        raise ValueError(f"{template!r} has unknown fields: {', '.join(unknown)}; choose from {_all_fields()}{added}")
    if any(form or conversion for _, _, form, conversion in parsed):
        raise ValueError(f"{template!r} formats a field; write {{date}} without : or !")
    for name, why in NEEDED.items():
        if name not in fields:
            raise ValueError(f"{template!r} lacks {{{name}}}, which {why}")
    literal = "".join(text for text, _, _, _ in parsed)
    if wrong := sorted(set(re.sub(r"[A-Za-z0-9._=/-]", "", literal))):
        raise ValueError(
            f"{template!r} has characters that not every store takes: {' '.join(map(repr, wrong))}; "
            "use letters without accents, digits and . _ = - /"
        )
    # Fields come to letters, digits and dashes, or to nothing: what stands between slashes is judged without them.
    for name in template.split("/"):
        if not name:
            raise ValueError(f"{template!r} begins or ends with a slash, or has two in a row; leave it out")
        bare = re.sub(r"\{\w+\}", "", name)
        if ".." in bare or bare.startswith(".") or bare.endswith(".") or name.startswith("."):
            raise ValueError(f"{template!r} has a name that begins or ends with a dot, or has two in a row; change it")
    longest = template.format(**{name: "x" * most for name, most in LONGEST.items()})
    if len(longest) > KEY_MOST or any(len(name) > NAME_MOST for name in longest.split("/")):
        raise ValueError(
            f"{template!r} can become {len(longest)} letters long; at most {KEY_MOST} are allowed, "
            f"and {NAME_MOST} between slashes"
        )
    return template


def _all_fields() -> str:
    return ", ".join(f"{{{name}}}" for name in LONGEST)
