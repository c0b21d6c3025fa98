"""`rapport up` and `rapport run`: the whole system in one terminal, until Ctrl-C."""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from deploy.local import env_file, key_secret, keys
from deploy.local.parts import steps, urls
from deploy.local.ports import USUAL, choose
from deploy.local.servers import Servers, named
from deploy.local.settings import BadSettingError, Home, LocalSettings, read_settings
from deploy.local.supervisor import StartError, Supervisor, first
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_settings import KafkaSecurity
from shared.contracts.control import KeyKind, key_hash

Demo = Callable[[Home, dict[str, str], Console], Awaitable[None]]
KEYS = {"RAPPORT_WRITE_KEY": KeyKind.WRITE, "RAPPORT_QUERY_KEY": KeyKind.QUERY}
PART_OF = {"smtp": "mail"}
"""Ports that are called differently from their part."""
DISK_CHECK_SECONDS = 30
MEGABYTE = 1024 * 1024


class RefusedError(Exception):
    """Nothing was started; the message says why."""


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Hold the folder's lock. Raises RefusedError when another supervisor holds it."""
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(
                f"Rapport is up already in {home.root} (process {holder(home)}): its URLs are in {home.env}; "
                f"`make logs` shows what it says, Ctrl-C in its terminal stops it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def is_up(home: Home) -> bool:
    """Whether a supervisor holds the folder now."""
    if not home.lock.exists():
        return False
    with home.lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def holder(home: Home) -> str:
    """Process id of the supervisor that holds the folder, as text; '?' when it cannot be read."""
    return (home.lock.read_text().strip() if home.lock.exists() else "") or "?"


def check_disk(home: Home, min_free_mb: int) -> None:
    """Raises RefusedError when too little is free: a full disk would stop Kafka and Redis in mid-write."""
    free = shutil.disk_usage(home.root).free // MEGABYTE
    if free < min_free_mb:
        raise RefusedError(f"too little room on the disk of {home.root}: {free} MB are free, at least {min_free_mb} MB are needed")


def choose_ports(base: int | None, say: Callable[[str], None], elsewhere: Container[str] = ()) -> dict[str, int]:
    """A free port for each part; says which are not the usual ones, of the parts that are not elsewhere. Raises RefusedError."""
    try:
        ports = choose(base)
    except OSError as error:
        raise RefusedError(str(error)) from None
    wanted = USUAL if base is None else {name: base + place for place, name in enumerate(USUAL)}
    for name, port in ports.items():
        if port != wanted[name] and PART_OF.get(name, name) not in elsewhere:
            say(f"port {wanted[name]} is taken: {name} gets {port}")
    return ports


def kafka_of(servers: Servers, variables: Mapping[str, str]) -> KafkaConnection:
    """Kafka as the services reach it. Raises StartError where the settings of one elsewhere do not fit together."""
    if "kafka" not in servers.elsewhere:
        return KafkaConnection(variables["RAPPORT_KAFKA_BOOTSTRAP"])
    try:
        return KafkaSecurity().kafka_at(servers.elsewhere["kafka"])
    except ValidationError as error:
        raise StartError("; ".join(one["msg"] for one in error.errors(include_input=False, include_url=False))) from None


def prepare_keys(home: Home, variables: dict[str, str], servers: Servers, sign: bool = False) -> None:
    """Make a write key and a query key at the first start, keep them later; write .rapport/env. Raises StartError.

    `sign`: the secret has just been made, so keys of the versions before, which signed none, are signed now, and never again. Those of a
    Kafka elsewhere are not: `rapport keys sign` asks.
    """
    own = env_file.read(home.env)
    try:
        signing = key_secret.of_home(home)
    except ValueError as error:
        raise StartError(str(error)) from None
    kafka = kafka_of(servers, variables)
    try:
        found = keys.find(kafka, signing)
        # With none signed the first start of this version did not come so far: it is made good.
        sign = (sign or not found.good) and "kafka" not in servers.elsewhere
        if sign:
            keys.sign_anew(kafka, signing, found.strange)
        known = {record.hash for record in (*found.good, *(found.strange if sign else ()))}
        for name, kind in KEYS.items():
            if key_hash(own.get(name, "")) not in known:  # the first start, or one of the two was deleted
                own[name] = keys.create(kafka, signing, kind, "local").secret
    except keys.KeysUnavailableError as error:
        raise StartError(str(error)) from None
    env_file.write(home.env, {name: own[name] for name in KEYS} | variables)


async def watch_disk(home: Home, min_free_mb: int, say: Callable[[str], None]) -> None:
    """Say it when the disk becomes nearly full, once each time."""
    low = False
    while True:
        free = shutil.disk_usage(home.root).free // MEGABYTE
        if free < min_free_mb / 2 and not low:
            say(f"the disk of {home.root} is nearly full ({free} MB free): make room, or parts will stop")
        low = free < min_free_mb / 2
        await asyncio.sleep(DISK_CHECK_SECONDS)


async def serve(settings: LocalSettings, home: Home, console: Console, demo: Demo | None) -> int:
    """Start everything, run the demo if one is given, stay up until a signal, drain. Returns the exit code."""

    def say(text: str) -> None:
        console.print(f"[dim]{datetime.now().astimezone():%H:%M:%S}[/dim] {escape(text)}", highlight=False, soft_wrap=True)

    servers = named(os.environ, home)
    for line in servers.told(home, demo=demo is not None):
        say(line)
    ports = choose_ports(settings.port_base, say, servers.elsewhere)
    unsigned_before = key_secret.is_new(home)
    variables = urls(ports, home, servers)
    supervisor = Supervisor(steps(ports, home, servers), say, home.parts, settings.start_seconds, settings.stop_seconds)
    supervisor.after_group(2, lambda: asyncio.to_thread(prepare_keys, home, variables, servers, unsigned_before))
    stop = _stop_on_signals(supervisor, say)

    starting = asyncio.create_task(supervisor.start())

    async def live() -> None:
        await asyncio.shield(starting)  # a stop lets each part that is just being started finish that, and then stops it
        say(f"everything is ready; keys and URLs: source {home.env}")
        if demo is not None:
            await demo(home, servers.variables | env_file.read(home.env), console)
        await watch_disk(home, settings.min_free_mb, say)

    try:
        await first(stop.wait(), live())
    except StartError as error:
        console.print(f"[bold red]not started:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    finally:
        await supervisor.drain()
        await asyncio.gather(starting, return_exceptions=True)
    say(f"all stopped; the data stay in {home.root}")
    return 0


def _stop_on_signals(supervisor: Supervisor, say: Callable[[str], None]) -> asyncio.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set; the second signal kills everything."""
    stop = asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            say("killing what is left")
            supervisor.kill()
            return
        say("stopping: services first, then the servers (again Ctrl-C to kill)")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    return stop


def run(demo: Demo | None = None) -> int:
    """The command: exit code 0 after a wished stop, 1 when it could not start. No traceback for what a person can mend."""
    console = Console(stderr=False)
    try:
        settings = read_settings()
        home = Home(settings.home)
        home.make()
        check_disk(home, settings.min_free_mb)
        with only_one(home):
            return asyncio.run(serve(settings, home, console, demo))
    except (RefusedError, BadSettingError, OSError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"not started: {told}", file=sys.stderr)  # noqa: T201 the command's answer
        return 1


def reset(root: Path) -> list[str]:
    """Delete what a run keeps in this folder, and nothing else; returns what was deleted. Raises RefusedError while it is up."""
    home = Home(root)
    if not root.exists():
        return []
    with only_one(home):
        deleted = []
        for path in (
            home.data,
            home.logs,
            home.mail,
            home.hooks,
            home.channels,
            home.env,
            home.key_secret,
            home.parts,
            home.demo,
            root / "bench.json",
        ):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            else:
                continue
            deleted.append(path.name)
        return deleted
