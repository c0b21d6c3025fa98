"""Starts the server: `python -m deploy.local.clickhouse_server --data DIR --port N [--host 127.0.0.1]`."""

import argparse
import ipaddress
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.clickhouse_server import config
from deploy.local.clickhouse_server.app import App
from deploy.local.clickhouse_server.engine import Engine
from deploy.local.clickhouse_server.errors import ClickHouseError
from deploy.local.clickhouse_server.serving import listen, serve
from deploy.local.clickhouse_server.users import READER_SETTINGS, User, Users

NAME = re.compile(r"[A-Za-z_]\w{0,63}")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.clickhouse_server",
        description="ClickHouse's HTTP interface over chDB.",
        epilog="CLICKHOUSE_USER and CLICKHOUSE_PASSWORD name the user that may write (default, without a password); "
        "CLICKHOUSE_READER_PASSWORD lets the user `reader` in with one, who may only read, within limits.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data; one process at a time")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; off loopback both users need passwords")
    return parser.parse_args(argv)


def users_of(environment: Mapping[str, str], host: str) -> Users:
    """The users of the environment. Exits when somebody beyond this machine could enter without a password."""
    name = environment.get("CLICKHOUSE_USER") or "default"
    if not NAME.fullmatch(name) or name == "reader":
        sys.exit(f"not started: CLICKHOUSE_USER={name} must be a plain word, and not `reader`")
    writer = User(name, environment.get("CLICKHOUSE_PASSWORD", ""))
    reader = User("reader", environment.get("CLICKHOUSE_READER_PASSWORD", ""), readonly=True, limits=READER_SETTINGS)
    local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    if not local and not (writer.password and reader.password):
        sys.exit(f"not started: {host} is no loopback address, so CLICKHOUSE_PASSWORD and CLICKHOUSE_READER_PASSWORD must be set")
    return Users(writer, reader)


def main() -> None:
    """Open the data and serve until SIGTERM or SIGINT; requests under way then get LONGEST_DRAIN_SECONDS (serving.py) to end."""
    given = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    users = users_of(os.environ, given.host)
    listener = listen(given.host, given.port)
    limits = config.Limits()
    own = given.data.resolve() / "server"
    pipes = own / "pipes"
    shutil.rmtree(pipes, ignore_errors=True)
    pipes.mkdir(mode=0o700, parents=True)
    try:
        engine = Engine(given.data.resolve() / "store_root", config.write(own, limits, users.writer))
    except ClickHouseError as failed:
        sys.exit(f"{given.data} could not be opened: {failed.message}")
    with ThreadPoolExecutor(limits.statements, thread_name_prefix="statement") as threads:
        logging.info("ClickHouse %s on %s:%d", engine.facts.version, given.host, given.port)
        serve(App(engine, users, threads, pipes), listener)
    engine.close()
