"""`rapport keys create | list | revoke`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table

from deploy.cli import keys
from deploy.cli.folder import home_folder
from deploy.local import env_file
from shared.adapters.environment import read_environment
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_settings import KafkaSecurity
from shared.contracts.control import KeyChanged, KeyKind

app = typer.Typer(no_args_is_help=True, help="Write keys (for sources) and query keys (for readers).")


class KafkaSettings(KafkaSecurity):
    """Read from RAPPORT_KAFKA_BOOTSTRAP; without it, from the env file of the system that runs here."""

    kafka_bootstrap: str | None = Field(None, description="host:port of a broker; without it, that of the system that runs here")


def _kafka() -> KafkaConnection:
    settings = read_environment("rapport keys", KafkaSettings)
    told = settings.kafka_bootstrap or env_file.read(home_folder().env).get("RAPPORT_KAFKA_BOOTSTRAP")
    if told is None:
        typer.echo("which Kafka? Set RAPPORT_KAFKA_BOOTSTRAP, or start Rapport here with `make run`", err=True)
        raise typer.Exit(1)
    return settings.kafka_at(told)


def _failed(error: keys.KeysUnavailableError) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(1)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it, such as `web-shop`.")],
    kind: Annotated[KeyKind, typer.Option(help="`write` may only send events, `query` may only read.")] = KeyKind.WRITE,
    source: Annotated[str | None, typer.Option(help="Source id of a write key; its name by default.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Scope of a query key; may be given again; all by default.")] = None,
) -> None:
    """Make a key and print its secret, which is shown only now."""
    try:
        made = keys.create(_kafka(), kind, name, source, scope)
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    typer.echo(made.secret)


@app.command("list")
def list_() -> None:
    """Print every key: kind, name, last characters, state."""
    try:
        found = keys.read_all(_kafka())
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    table = Table("kind", "name", "source", "scopes", "ends in", "made", "state", box=None)
    for record in found:
        table.add_row(
            record.kind,
            record.name,
            record.source_id or "",
            " ".join(record.scopes),
            record.hint,
            _day(record.created_at),
            f"revoked {_day(record.revoked_at)}" if record.revoked_at else "good",
        )
    Console().print(table)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="Name or last four characters, as `rapport keys list` prints them.")],
) -> None:
    """Revoke a key; processes refuse it as soon as they have read that."""
    try:
        kafka = _kafka()
        good = [record for record in keys.read_all(kafka) if record.revoked_at is None]
        found: list[KeyChanged] = [record for record in good if which in (record.hint, record.name)]
        if len(found) != 1:
            typer.echo(f"{len(found)} keys are called {which!r}: name one by its last four characters", err=True)
            raise typer.Exit(1)
        keys.revoke(kafka, found[0])
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    typer.echo(f"revoked: {found[0].kind} key {found[0].name} (…{found[0].hint})")


def _day(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M}Z"
