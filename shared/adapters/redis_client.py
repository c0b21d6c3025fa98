"""One way to Redis for every process: by the URL, in clear or by TLS."""

from typing import Any

import redis.asyncio as redis
from redis.asyncio.connection import parse_url

from shared.adapters.store_settings import Address


def redis_client(
    where: Address,
    timeout_s: float,
    clear: type[redis.Connection] = redis.Connection,
    encrypted: type[redis.SSLConnection] = redis.SSLConnection,
    **options: Any,
) -> redis.Redis:
    """A client; no connection is made yet. A call without an answer in `timeout_s` fails. `clear`, `encrypted`: what a connection is."""
    told: dict[str, Any] = dict(parse_url(where.url))
    told.setdefault("connection_class", clear)  # a socket in the file system has a class of its own
    if where.tls is not None:
        told |= {
            "connection_class": encrypted,
            "ssl_ca_certs": None if where.tls.ca_file is None else str(where.tls.ca_file),
            "ssl_certfile": None if where.tls.certificate_file is None else str(where.tls.certificate_file),
            "ssl_keyfile": None if where.tls.key_file is None else str(where.tls.key_file),
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
        }
    pool = redis.ConnectionPool(**told, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, **options)
    return redis.Redis.from_pool(pool)
