"""`python -m prefect_media` is the same as `prefect-media`."""

from .cli import main

main()
