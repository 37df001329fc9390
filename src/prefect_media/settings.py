"""What can be set for a whole machine or deployment, as `PREFECT_MEDIA_...` environment variables."""

from functools import lru_cache
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .key_template import DEFAULT_TEMPLATE, checked_template


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
        description="Whether to buy without trying out first that the store keeps two buyers apart. For folders and "
        "servers that fail the trial and that only one process at a time uses.",
    )
    validation: Literal["strict", "warn", "off"] = Field(
        default="strict",
        description="What to do with a request the catalog says can't work: refuse it, warn, or say nothing.",
    )
    prices: str | None = Field(
        default=None,
        description="TOML file with prices of your own, by model, in the catalog's form; they go before the catalog's.",
    )
    key_template: str = Field(
        default=DEFAULT_TEMPLATE,
        description="How media are named in the store, by fields of the purchase; the ending is added.",
    )
    max_transfers: int = Field(default=4, ge=1, description="Downloads and uploads at once in this process.")
    lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How long a process that went silent while submitting keeps others from taking over, in seconds.",
    )
    conflict_tries: int = Field(
        default=50,
        ge=1,
        description="How often a change of one record is tried while others change it, too, until it is an error.",
    )
    poll_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Longest pause between two looks at a job that may end at any time, in seconds.",
    )
    stall_seconds: float = Field(
        default=600.0, gt=0, description="How long a job may show no change until a warning is given, in seconds."
    )
    allow_private_urls: bool = Field(
        default=False,
        description="Whether references, and links in answers, may lead to private and loopback addresses.",
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

    @field_validator("key_template")
    @classmethod
    def _refuse_templates_that_can_not_work(cls, template: str) -> str:
        return checked_template(template)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
