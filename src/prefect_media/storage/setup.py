"""What the environment says of a bucket's server and login, and what is wrong with it where no retry helps."""

import os
import re
from typing import TYPE_CHECKING

from ..errors import StoreError

if TYPE_CHECKING:
    from obstore.store import AzureConfig

ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
"""Variables that name a server instead of the cloud's own, the first that is set counts."""

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"

_EMULATOR = {
    "AccountName": "devstoreaccount1",
    # published by Microsoft, the same in every emulator; it protects nothing
    "AccountKey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}


def endpoint_from_environment(scheme: str) -> str | None:
    """The server that the environment names for `s3`, `az` or `gs`."""
    return next((os.environ[name] for name in ENDPOINTS[scheme] if os.environ.get(name)), None)


def azure_login(given: str | None) -> "AzureConfig | None":
    """What a connection string says, the given one or the environment's; nothing of the environment is mixed with it.

    Raises:
        StoreError: It is no connection string, or lacks what is needed.
    """
    text = (given or os.environ.get(CONNECTION_STRING, "")).strip()
    if not text:
        return None
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    if not all(name.strip() and separator and value.strip() for name, separator, value in pairs):
        raise _bad_connection_string("it is no list of Name=value with semicolons between them")
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if values.get("UseDevelopmentStorage", "").lower() == "true":
        values = _EMULATOR
    endpoint, account = values.get("BlobEndpoint"), values.get("AccountName")
    if endpoint and not account:  # with a shared access signature, only the address says whose it is
        account = (re.match(r"https?://([a-z0-9]+)\.", endpoint) or ["", ""])[1]
    if not account:
        raise _bad_connection_string("it has no AccountName")
    if not endpoint:
        suffix = values.get("EndpointSuffix", "core.windows.net")
        endpoint = f"{values.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    if key := values.get("AccountKey"):
        return {
            "account_name": account,
            "account_key": key,
            "endpoint": endpoint,
            "credential_type": "access_key",
        }
    if signature := values.get("SharedAccessSignature"):
        return {
            "account_name": account,
            "sas_key": signature.removeprefix("?"),
            "endpoint": endpoint,
            "credential_type": "sas_token",
        }
    raise _bad_connection_string("it has neither AccountKey nor SharedAccessSignature")


def _bad_connection_string(why: str) -> StoreError:
    return StoreError(
        f"the Azure connection string (of the store, or {CONNECTION_STRING}) can't be used: {why}; copy it again from "
        "the storage account's access keys",
        transient=False,
    )


_GOOGLE_FILE = "the file of GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT"

_CAUSES = {
    "InvalidAccessKey": "the Azure account key is not base64; copy AZURE_STORAGE_ACCOUNT_KEY again",
    "MissingSasComponent": "the Azure SAS token is no query such as sv=...&sig=...; copy AZURE_STORAGE_SAS_TOKEN again",
    "DecodeSasKey": "the Azure SAS token is not percent-encoded text; copy AZURE_STORAGE_SAS_TOKEN again",
    "UnknownCredentialType": "AZURE_CREDENTIAL_TYPE is unknown; use access_key, sas_token, managed_identity or leave "
    "it out",
    "FederatedTokenFile": "the file of AZURE_FEDERATED_TOKEN_FILE can't be read; correct its path",
    "Azure Cli not installed": "there is no Azure command line here; install it, or unset AZURE_USE_AZURE_CLI",
    "az login": "nobody is logged in to the Azure command line; run az login",
    "OpenCredentials": f"{_GOOGLE_FILE} can't be opened; correct its path or its permissions",
    "DecodeCredentials": f"{_GOOGLE_FILE}, or the text of GOOGLE_SERVICE_ACCOUNT_KEY, is no JSON of a service account "
    "or of gcloud auth application-default login; download it again",
    "ReadPem": f"{_GOOGLE_FILE}, or the text of GOOGLE_SERVICE_ACCOUNT_KEY, holds no usable private key; download it "
    "again",
    'store: "Config"': "a variable AWS_..., AZURE_... or GOOGLE_... of the environment has a value of the wrong kind, "
    "such as neither true nor false; correct or unset it",
    "BadScheme": "the address of the server is neither https nor a plain http that was asked for; pass endpoint_url",
    "MissingEtag": "its server answers a write with no ETag, so two buyers can't be kept apart; use another store",
}
"""What obstore's own errors mean, by a word of theirs. They are not quoted: they can hold what is secret."""


def find_cause(debug: str) -> str | None:
    """What is wrong on this side, by the part of obstore's error meant for developers; None if nothing is known of it.

    Only for errors without an answer from a server.
    """
    return next((cause for word, cause in _CAUSES.items() if word in debug), None)


def check_aws(region: str | None, access_key_id: str | None, session_token: str | None) -> None:
    """Refuse what can't be put into a request.

    Raises:
        StoreError: One of them has characters that none of its kind has.
    """
    for name, text, form in (
        ("region", region, r"[A-Za-z0-9-]+"),
        ("access key id", access_key_id, r"[!-~]+"),
        ("session token", session_token, r"[!-~]+"),
    ):
        if text and not re.fullmatch(form, text):
            raise StoreError(
                f"the AWS {name} has a space, a line break or another invalid character; paste it again",
                transient=False,
            )
