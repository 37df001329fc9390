"""Settings of a machine or deployment: environment variables that begin with `PREFECT_MEDIA_`."""

import re
from functools import lru_cache
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .key_template import DEFAULT_TEMPLATE, check_template

CALLBACK_URL = re.compile(r"(https://[^\s/:@?#]+|http://(127\.0\.0\.1|localhost))(:[0-9]{1,5})?([/?]\S*)?")
"""HTTPS, as servers demand; or this machine, for tests."""


class Settings(BaseSettings):
    """Settings of this process, read once from the environment."""

    model_config = SettingsConfigDict(env_prefix="PREFECT_MEDIA_", extra="ignore")

    store: str | None = Field(
        default=None,
        description="Default store: a URL such as s3://bucket/prefix, a folder (./media), or the name of a saved "
        "MediaStore. Unset: under the Prefect home.",
    )
    trust_store: bool = Field(
        default=False,
        description="Whether to buy without a test that the store supports conditional writes. For folders and "
        "servers that fail the test and that only one process at a time uses.",
    )
    validation: Literal["strict", "warn", "off"] = Field(
        default="strict",
        description="What to do with a request that the catalog says can't work: refuse it, warn, or send it silently.",
    )
    prices: str | None = Field(
        default=None,
        description="TOML file with your own prices by model, in the catalog's format; they override the catalog's.",
    )
    key_template: str = Field(
        default=DEFAULT_TEMPLATE,
        description="Template of the names of media in the store, by fields of the purchase; the suffix is added.",
    )
    max_transfers: int = Field(default=4, ge=1, description="Most downloads and uploads at once in this process.")
    lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which another process may take over a submission whose process stopped responding.",
    )
    conflict_tries: int = Field(
        default=50,
        ge=1,
        description="Most tries to change one record that other processes change at the same time.",
    )
    poll_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Longest poll interval of a job that may end at any time, in seconds.",
    )
    stall_seconds: float = Field(
        default=600.0, gt=0, description="Seconds without a change of a job after which a warning is logged."
    )
    callback_url: str | None = Field(
        default=None,
        description="Public HTTPS address of prefect-media receive, its path included, sent along with video jobs to "
        "servers that call when a job ends, such as https://example.com/openrouter.",
    )
    allow_private_urls: bool = Field(
        default=False,
        description="Whether reference URLs, and links in answers, may lead to private and loopback addresses.",
    )
    show: bool = Field(
        default=True,
        description="Whether flow runs that make media leave a page of it in Prefect: what is under way, then a "
        "gallery.",
    )
    log_prompts: bool = Field(
        default=True,
        description="Whether Prefect gets to see prompts, in names of task runs, logs and pages; otherwise a hash.",
    )
    max_video_bytes: int = Field(
        default=8 * 1024**3, ge=1, description="Largest video that is downloaded, in bytes; 8 GiB by default."
    )

    @field_validator("callback_url")
    @classmethod
    def _check_callback_url(cls, url: str | None) -> str | None:
        if url is not None and not CALLBACK_URL.fullmatch(url):
            raise ValueError("PREFECT_MEDIA_CALLBACK_URL is not a public address; use one that begins with https://")
        return url

    @field_validator("key_template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        return check_template(template)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
