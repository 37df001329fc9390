"""Parameters of flows that a form offers as lists of saved blocks, and that code, YAML and JSON may name.

from prefect_media.blocks.choices import AnyCredentials, AnyStore

@flow
def film(credentials: AnyCredentials, request: VideoRequest, store: AnyStore = None): ...
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from prefect_media.form_schema import JSON_TAB, Schema, block_picker, empty_tab

from .credentials import AzureOpenAICredentials, OpenAICredentials
from .store import MediaStore

_CREDENTIALS: list[Schema] = [
    block_picker("OpenAI", OpenAICredentials.get_block_type_slug()),
    block_picker("Azure OpenAI", AzureOpenAICredentials.get_block_type_slug()),
    {"title": "By name", "type": "string"},
]
_STORE: list[Schema] = [
    block_picker("Media Store", MediaStore.get_block_type_slug()),
    {"title": "Name, URL or folder", "type": "string"},
]

AnyCredentials = Annotated[OpenAICredentials | AzureOpenAICredentials | str, WithJsonSchema({"anyOf": _CREDENTIALS})]
"""Credentials, or the name of saved ones."""

OptionalCredentials = Annotated[
    OpenAICredentials | AzureOpenAICredentials | str | None,
    WithJsonSchema({"anyOf": [empty_tab("The same"), *_CREDENTIALS, JSON_TAB]}),
]
"""The same, or None."""


class _StoreTabs:
    """A saved store or none, as a field of a block: Prefect reads from the schema which block it refers to."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        store, _ = handler(schema)["anyOf"]
        return {"anyOf": [empty_tab("Default"), store]}


def _empty_as_none(store: Any) -> Any:
    return None if store == {} else store


SavedStore = Annotated[MediaStore | None, BeforeValidator(_empty_as_none), _StoreTabs]
"""A store as a field of another block, or None for that of the settings."""

AnyStore = Annotated[MediaStore | str | None, WithJsonSchema({"anyOf": [empty_tab("Default"), *_STORE, JSON_TAB]})]
"""A store, the name of a saved one, a URL, a folder, or None for that of the settings."""
