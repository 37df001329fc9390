"""All blocks keep to Prefect's standards, and come back from Prefect as what they were."""

import json
import re
import warnings
from textwrap import dedent
from typing import Union

import cloudpickle
import prefect_media.blocks
import pytest
from prefect import flow, get_client
from prefect.blocks.core import Block
from prefect.client.schemas.actions import BlockTypeCreate
from prefect.client.schemas.objects import BlockType
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_media.blocks import VideoJobBlock
from pydantic import SecretStr, TypeAdapter, ValidationError

from prefect_media import AzureOpenAICredentials, ImageRequest, MediaStore, OpenAICredentials, VideoRequest

pytestmark = pytest.mark.prefect

BLOCKS = [getattr(prefect_media.blocks, name) for name in prefect_media.blocks.__all__]
OPENAI = OpenAICredentials(api_key=SecretStr("sk-watched"), base_url="http://localhost:9/v1", organization="org-1")
AZURE = AzureOpenAICredentials(base_url="https://studio.openai.azure.com", api_key=SecretStr("key-watched"))
STORE = MediaStore(
    url="s3://films/demo",
    endpoint_url="http://localhost:9",
    aws_access_key_id=SecretStr("AKIAWATCHED"),
    aws_secret_access_key=SecretStr("secret-watched"),
)


@pytest.mark.parametrize("block", BLOCKS)
class TestBlocksKeepToTheStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, block):
        return block

    def test_has_a_valid_image(self, block):
        """Prefect's own test downloads the picture to measure it; ours has to pass without a network."""
        assert str(block._logo_url).startswith("https://")


@pytest.mark.parametrize("schema", [BlockType, BlockTypeCreate])
def test_a_logo_can_only_be_loaded_from_the_network(schema):
    """As docs/showing.md says; once Prefect's client takes a data URI, ours can be one."""
    with pytest.raises(ValidationError, match="URL scheme should be 'http' or 'https'"):
        schema(name="x", slug="x", logo_url="data:image/png;base64,iVBORw0KGgo=")


def test_the_code_examples_run(prefect, media_simulator, tmp_path, configure):
    """Those that Prefect's pages show, in a flow."""
    configure(store=tmp_path)
    credentials = media_simulator.credentials
    video = VideoRequest(prompt="A paper boat", model="wan-2.2", seconds=2)
    for block in (
        credentials,
        AzureOpenAICredentials(base_url=media_simulator.azure_url, api_key=SecretStr("k")),
        MediaStore(url=str(tmp_path)),
        VideoJobBlock(credentials=credentials, request=video.model_copy(update={"variant": 1})),
    ):
        block.save("an-example", overwrite=True)

    @flow(name="code examples")
    def examples():
        for block in BLOCKS:
            [code] = re.findall(r"```python\n(.*?)```", block.get_code_example(), re.S)
            exec(dedent(code).replace("BLOCK_NAME", "an-example"), names)

    names = {}
    examples()
    assert len(media_simulator.jobs) == 2 and names["video"].kind == names["asset"].kind == "video"


def test_slugs_are_for_ever():
    """Saved blocks and deployments refer to them."""
    assert {block.get_block_type_slug() for block in BLOCKS} == {
        "openai-media-credentials",
        "azure-openai-media-credentials",
        "media-store",
        "video-job",
    }


@pytest.mark.parametrize("block", [OPENAI, AZURE, STORE], ids=lambda block: type(block).__name__)
async def test_saved_and_loaded_is_the_same(prefect, block):
    """With the class it had and the secrets it had, by its own class and by Prefect's way of finding one."""
    await block.asave("standards", overwrite=True)
    for loaded in (
        await type(block).aload("standards"),
        await Block.aload(f"{block.get_block_type_slug()}/standards"),
    ):
        assert type(loaded) is type(block)
        for name in type(block).model_fields:
            assert getattr(loaded, name) == getattr(block, name)


@pytest.mark.parametrize("block", [OPENAI, AZURE], ids=lambda block: type(block).__name__)
async def test_a_union_keeps_the_class(prefect, block):
    """A saved document that is nested or passed to a flow says nothing of its class but what its fields say."""
    await block.asave("in-a-union", overwrite=True)
    document = (await type(block).aload("in-a-union")).model_dump(mode="python")
    for union in (Union[OpenAICredentials, AzureOpenAICredentials], Union[AzureOpenAICredentials, OpenAICredentials]):  # noqa: UP007
        assert type(TypeAdapter(union).validate_python(document)) is type(block)

    @flow
    async def which(credentials: OpenAICredentials | AzureOpenAICredentials | str) -> str:
        return type(credentials).__name__

    assert await which(block) == type(block).__name__
    assert await which(await type(block).aload("in-a-union")) == type(block).__name__


async def test_a_block_inside_a_block_keeps_its_class(prefect):
    class Studio(Block):
        credentials: OpenAICredentials | AzureOpenAICredentials

    for credentials in (OPENAI, AZURE):
        await credentials.asave("nested", overwrite=True)
        inner = await type(credentials).aload("nested")
        await Studio(credentials=inner).asave("studio", overwrite=True)
        studio = await Studio.aload("studio")
        assert type(studio.credentials) is type(credentials)
        assert studio.credentials.api_key == credentials.api_key


@pytest.mark.parametrize("block", [OPENAI, AZURE], ids=lambda block: type(block).__name__)
def test_blocks_travel_after_use(block):
    """A client that was made leaves nothing in the block that could not go to another process."""
    client = block.get_client()
    copy = cloudpickle.loads(cloudpickle.dumps(block))
    assert copy == block
    assert copy.api_key.get_secret_value() == block.api_key.get_secret_value()
    assert copy.get_client() is client


def test_a_store_travels_after_use():
    storage = STORE.storage()
    copy = cloudpickle.loads(cloudpickle.dumps(STORE))
    assert copy == STORE
    assert copy.storage() is storage


@pytest.mark.parametrize("block", [OPENAI, AZURE], ids=lambda block: type(block).__name__)
async def test_clients_are_shared(block):
    """Two calls, one client, and one TLS set-up; other credentials have their own."""
    assert block.get_client() is block.get_client()
    assert block.get_async_client() is block.get_async_client()
    other = block.model_copy(update={"api_key": SecretStr("another")})
    assert other.get_client() is not block.get_client()
    assert other.get_async_client() is not block.get_async_client()


@pytest.mark.parametrize(
    ("kind", "required"),
    [
        (OpenAICredentials, {}),
        (AzureOpenAICredentials, {"base_url": "https://studio.openai.azure.com"}),
        (MediaStore, {"url": "s3://films"}),
    ],
)
def test_a_misspelt_field_is_told(kind, required):
    with pytest.warns(UserWarning, match=f"{kind.__name__} has no field 'regoin'"):
        kind(**required, regoin="eu-central-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(**required)


@pytest.mark.parametrize("block", [OPENAI, AZURE, STORE], ids=lambda block: type(block).__name__)
def test_secrets_are_not_shown(block):
    for shown in (repr(block), str(block), block.model_dump_json()):
        assert "watched" not in shown.lower()


def test_in_the_forms_what_all_need_comes_first():
    assert list(OpenAICredentials.model_json_schema()["properties"])[:3] == ["provider", "api_key", "base_url"]
    for request in (ImageRequest, VideoRequest):
        fields = list(request.model_json_schema()["properties"])
        assert fields[:2] == ["prompt", "model"]
        assert fields[-1] == "options"


@pytest.mark.parametrize("block", BLOCKS)
def test_no_field_of_a_form_is_null_or_a_fixed_text_to_edit(block):
    properties = block.model_json_schema()["properties"]
    assert '"null"' not in json.dumps(properties)
    assert "const" not in json.dumps(properties)


def test_a_video_job_needs_neither_a_budget_nor_a_store():
    """Both generations of the pages save what nobody touched as nothing, as null or as an empty object."""
    schema = VideoJobBlock.model_json_schema()
    assert schema["required"] == ["credentials", "request"]
    for name in ("budget", "store"):
        assert schema["properties"][name]["anyOf"][0]["maxProperties"] == 0, "shown first: nothing to fill in"
    for left_alone in ({}, {"budget": None, "store": None}, {"budget": {}, "store": {}}):
        job = VideoJobBlock(credentials=OPENAI, request={"prompt": "a", "model": "m"}, **left_alone)
        assert (job.budget, job.store) == (None, None)


async def test_a_video_job_refers_to_its_blocks(prefect):
    await OPENAI.asave("of-a-job", overwrite=True)
    await STORE.asave("of-a-job", overwrite=True)
    credentials, store = await OpenAICredentials.aload("of-a-job"), await MediaStore.aload("of-a-job")
    request = VideoRequest(prompt="a", model="m", size="64x64")
    await VideoJobBlock(credentials=credentials, request=request, store=store).asave("refers", overwrite=True)
    loaded = await VideoJobBlock.aload("refers")
    assert loaded.request == request
    assert loaded.store.url == STORE.url
    async with get_client() as client:
        document = await client.read_block_document_by_name("refers", "video-job")
    assert set(document.block_document_references) == {"credentials", "store"}
