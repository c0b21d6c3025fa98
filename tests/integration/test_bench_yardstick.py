"""The yardstick of `make bench` on a real Kafka and Redis: what is sent comes through the whole chain, and a chain that breaks is said."""

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import RedisError

from deploy.local.process import Process
from tests.bench import yardstick

pytestmark = pytest.mark.real


def test_every_record_goes_through_the_chain_and_a_redis_that_is_away_is_an_error(fresh_kafka: Process, redis_server: Process) -> None:
    bootstrap, store = cast(Any, fresh_kafka).bootstrap, cast(Any, redis_server).url
    system: Any = SimpleNamespace(bootstrap=bootstrap, env={"RAPPORT_REDIS_URL": store})
    began = time.monotonic()
    with yardstick.beside(system) as chain:
        told = chain.stop()
    took = time.monotonic() - began
    assert told.lost == 0
    assert 1 <= len(told.seconds) <= 1 + took * yardstick.A_SECOND
    assert 0 < told.seconds[0] <= told.seconds[-1] < took
    with pytest.raises(RedisError):
        yardstick.run(yardstick.Task(bootstrap, "redis://127.0.0.1:1"), threading.Event())
