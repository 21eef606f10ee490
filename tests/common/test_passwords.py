"""Passwords in addresses are found with any characters, and nothing else is."""

import pytest

from ssl_faces.common.passwords import hidden, refuse_passwords
from tests.support.refusals import message_of

SECRETS = ("s3cret", "s3c/ret+x", "0/s3cret", "s3c@ret", "s3c:ret", "?s3c#ret", "s3'\"cret<")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIA:{}@bucket/x",
        "redis://:{}@host/x",
        "https://me:{}@host.example:8080/x@2",
        "postgresql+psycopg2://me:{}@10.0.0.1/db",
    ],
)
def test_passwords_of_users(address, secret):
    text = address.format(secret)
    assert hidden(f"see {text} and more@x") == f"see {_without(address)} and more@x"
    message = message_of(refuse_passwords, {"data": {"packs": ["a", text]}})
    assert message.startswith("data.packs: ")
    assert _without(address) in message


def _without(address):
    return address.replace("{}", "***").replace("***@host.example:8080/x@2", "***@2")


@pytest.mark.parametrize("key", ["password", "PASSWD", "db_pwd", "X-Amz-Signature", "sig", "key"])
def test_passwords_of_a_query(key):
    text = f"https://host/db?user=me&{key}=s3c/ret&x=1"
    assert hidden(text) == f"https://host/db?user=me&{key}=***&x=1"
    assert "has a password" in message_of(refuse_passwords, text, "storage")


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/faces@v2",
        "http://host.example:8000/faces@v2",
        "http://[::1]:8000/faces@v2",
        "https://user@host/x",
        "s3://bucket/a:b@c",
        "s3://bucket/x?versionId=3",
        "s3://me:***@bucket/x",
        "a:b@c",
        "/data/x:y@z",
    ],
)
def test_addresses_without_a_password(text):
    assert hidden(text) == text
    refuse_passwords({"x": text})
