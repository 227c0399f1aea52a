"""S3-compatible storage for tests: buckets, and the environment that says where they are."""

import secrets

import httpx
import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}


def environment_of(endpoint: str) -> dict[str, str]:
    """What leads to that storage."""
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}


def use_storage(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let this process find that storage."""
    for name, value in environment_of(endpoint).items():
        monkeypatch.setenv(name, value)


def make_bucket(endpoint: str, url: str = "") -> str:
    """Make it, or one that nobody else has; gives its URL."""
    url = url or f"s3://test-{secrets.token_hex(8)}"
    httpx.put(f"{endpoint}/{url.removeprefix('s3://')}").raise_for_status()
    return url
