"""Buckets with somebody in front of them who writes down what is asked."""

import pytest
from watched_bucket import WatchedBuckets


@pytest.fixture
def watched(s3):
    watched = WatchedBuckets(s3)
    yield watched
    watched.close()
