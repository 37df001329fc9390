"""`python -m prefect_media` is the same as `prefect-media`."""

from .cli.app import main

main()
