"""The clients that this package asks a server with."""

from prefect_media.providers.connection import Connection, wire_client


async def test_the_client_of_paid_requests_never_retries_and_is_made_once():
    connection = Connection(provider="openai", base_url="http://127.0.0.1:9/v1", api_key="key")
    paid, free = wire_client(connection, retries=0), wire_client(connection)
    assert (paid.max_retries, free.max_retries) == (0, 2)
    assert wire_client(connection, retries=0) is paid
    assert wire_client(connection) is free
