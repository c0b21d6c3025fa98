"""Ports of servers that tests and parts of the local installation start."""

import socket
from pathlib import Path

from deploy.local.ports import HOST, free_port, is_free

RANGE_OF_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_port_is_told_twice_and_none_can_be_taken_by_an_outgoing_connection() -> None:
    first_outgoing = int(RANGE_OF_OUTGOING.read_text().split()[0]) if RANGE_OF_OUTGOING.exists() else 32_768
    told = [free_port() for _ in range(500)]
    assert len(set(told)) == 500
    assert max(told) < first_outgoing


def test_a_port_where_somebody_listens_is_not_free() -> None:
    with socket.create_server((HOST, 0)) as server:
        assert not is_free(server.getsockname()[1])
    assert is_free(free_port())
