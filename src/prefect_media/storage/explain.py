"""What went wrong at a bucket, in words that say what to do."""

import re
from typing import Any

from ..errors import StoreError
from ..user_input import redact_url
from .setup import find_cause


def explain_boto3(error: Exception, bucket: str, key: str, endpoint: str | None, profile: str | None) -> StoreError:
    """The same as `explain`, for an error of botocore."""
    answer: dict[str, Any] = getattr(error, "response", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = answer.get("Error", {}).get("Code", "")
    name = type(error).__name__
    if not status:
        debug = {"EndpointConnectionError": "kind: Connect", "ReadTimeoutError": "kind: Timeout"}.get(name, "")
        if "Credential" in name or "Token" in name:
            return login_failed(name, profile)
        return explain(f"Debug source: {debug}", bucket, key, endpoint, profile)
    return explain(f"status code: {status} <Code>{code}</Code>", bucket, key, endpoint, profile)


def login_failed(reason: str, profile: str | None) -> StoreError:
    return StoreError(
        f"the AWS login of profile {profile or 'default'} can't be used ({reason}); log in again, "
        "for example with `aws sso login`, or name another profile",
        transient=False,
    )


_LOGIN = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthenticationFailed",
}


_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"}


def explain(text: str, bucket: str, key: str, endpoint: str | None, profile: str | None = None) -> StoreError:
    """What a user should know and do about an error of a bucket, without quoting it."""
    answer, _, debug = text.partition("Debug source:")
    status = _first_match(r"status code: (\d{3})", answer)
    code = _first_match(r"<Code>(\w+)</Code>", answer) or _first_match(r"\(code: (\w+)\)", answer)
    where = f"at {redact_url(endpoint)}" if endpoint else "in the cloud"
    reason = " ".join(filter(None, (status, code)))
    region = _first_match(r"<Region>([\w-]+)</Region>", answer)

    if status is None and (cause := find_cause(debug)):
        return StoreError(f"the store {bucket} can't be opened: {cause}", transient=False)
    if "External AWS credential provider" in answer:
        return login_failed(_first_match(r"type: <class '(?:\w+\.)*(\w+)'>", debug) or "unreadable", profile)
    refused = "token request" in answer and not (status or "").startswith("5")
    if refused or "MissingAccount" in debug:
        message = f"no credentials for {bucket} were found; log in to the cloud or set its environment variables"
    elif code in ("NoSuchBucket", "ContainerNotFound"):
        message = f"the bucket {bucket} does not exist {where}; create it or correct its name"
    elif code in _REGION or "configured region" in answer or status in ("301", "307"):
        message = f"the bucket {bucket} is in {'the region ' + region if region else 'another region'}; "
        message += "set `region` to the bucket's"
    elif code in _LOGIN or status == "401":
        message = f"the credentials for {bucket} were refused ({reason}); correct or renew them"
    elif status == "403" or code == "AccessDenied":
        message = f"the credentials for {bucket} do not allow this ({reason}); allow them to get, put, list and "
        message += "delete objects there"
    elif status == "404" or "not found" in answer[:200]:
        return StoreError(
            f"there is nothing at {bucket}/{key}; it was deleted or never stored", transient=False, missing=True
        )
    elif code == "NotImplemented" or status == "501":
        message = f"the store of {bucket} can't do this ({reason}); leave out what not every store has, such as tags, "
        message += "a storage class or a KMS key"
    elif code in _FULL or status == "507":
        message = f"the store of {bucket} is full ({reason}); free some space or use another bucket"
    elif "kind: Connect" in debug:
        return StoreError(
            f"the store of {bucket} {where} can't be reached; check the endpoint and the network, and try again"
        )
    elif "kind: Timeout" in debug:
        return StoreError(f"the store of {bucket} {where} did not answer in time; try again")
    elif status is None or status.startswith("5") or status in ("408", "409", "429"):
        return StoreError(f"the store of {bucket} can't be used right now ({reason or 'broken connection'}); try again")
    else:
        message = f"the store of {bucket} refused the request ({reason}); check the bucket's name and the endpoint"
    return StoreError(message, transient=False)


def _first_match(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match and match[1]
