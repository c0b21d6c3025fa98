"""`rapport keys create | list | revoke | sign`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table

from deploy.cli.folder import home_folder
from deploy.local import env_file, key_secret, keys
from shared.adapters.environment import read_environment
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_settings import KafkaSecurity
from shared.adapters.key_settings import KeySecretSettings
from shared.contracts.control import KeyChanged, KeyKind
from shared.contracts.key_signature import KeySecrets

app = typer.Typer(no_args_is_help=True, help="Write keys (for sources) and query keys (for readers).")


class KafkaSettings(KafkaSecurity, KeySecretSettings):
    """Read from the environment; what is not there, from the env file of the system that runs here."""

    kafka_bootstrap: str | None = Field(None, description="host:port of a broker; without it, that of the system that runs here")


def _where() -> tuple[KafkaConnection, KeySecrets]:
    settings = read_environment("rapport keys", KafkaSettings)
    here = env_file.read(home_folder().env)
    told = settings.kafka_bootstrap or here.get("RAPPORT_KAFKA_BOOTSTRAP")
    if told is None:
        typer.echo("which Kafka? Set RAPPORT_KAFKA_BOOTSTRAP, or start Rapport here with `make run`", err=True)
        raise typer.Exit(1)
    secrets = settings.secrets_or_none() or key_secret.of(here)
    if secrets is None:
        typer.echo(
            "by which secret are keys signed? Set RAPPORT_KEY_SECRET or RAPPORT_KEY_SECRET_FILE, as ingest and query have it", err=True
        )
        raise typer.Exit(1)
    return settings.kafka_at(told), secrets


def _failed(error: keys.KeysUnavailableError) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(1)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it, such as `web-shop`.")],
    kind: Annotated[KeyKind, typer.Option(help="`write` may send events and no more; what `query` may do its scopes say.")] = KeyKind.WRITE,
    source: Annotated[str | None, typer.Option(help="Source id of a write key; its name by default.")] = None,
    scope: Annotated[
        list[str] | None,
        list[str] | None,
        typer.Option(help="Scope of a query key: `read`, `personal`, `definitions`, `admin`; may be given again; all by default."),
    ] = None,
) -> None:
    """Make a key and print its secret, which is shown only now."""
    try:
        made = keys.create(*_where(), kind, name, source, scope)
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    typer.echo(made.secret)


@app.command("list")
def list_() -> None:
    """Print every key: kind, name, last characters, state."""
    try:
        found = keys.find(*_where())
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    table = Table("kind", "name", "source", "scopes", "ends in", "made", "state", box=None)
    for record in found.good:
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
    if found.strange:
        typer.echo(f"{len(found.strange)} further keys are not signed, so they count for nothing: `rapport keys sign` shows them", err=True)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="Name or last four characters, as `rapport keys list` prints them.")],
) -> None:
    """Revoke a key; processes refuse it as soon as they have read that."""
    try:
        kafka, secrets = _where()
        good = [record for record in keys.read_all(kafka, secrets) if record.revoked_at is None]
        found: list[KeyChanged] = [record for record in good if which in (record.hint, record.name)]
        if len(found) != 1:
            typer.echo(f"{len(found)} keys are called {which!r}: name one by its last four characters", err=True)
            raise typer.Exit(1)
        keys.revoke(kafka, secrets, found[0])
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    typer.echo(f"revoked: {found[0].kind} key {found[0].name} (…{found[0].hint})")


@app.command()
def sign(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign keys that were made before keys were signed, and sign anew what an older secret signed.

    Look at the list first: whoever could write to Kafka could have put a key of their own among those that are not signed.
    """
    try:
        kafka, secrets = _where()
        found = keys.find(kafka, secrets)
        for record in found.strange:
            may = "sends events" if record.kind is KeyKind.WRITE else f"may {' '.join(record.scopes)}"
            typer.echo(f"not signed: {record.kind} key {record.name} (…{record.hint}), made {_day(record.created_at)}, {may}")
        if found.strange and not yes:
            typer.confirm(f"Do you know all {len(found.strange)}, and shall they be good?", abort=True)
        keys.sign_anew(kafka, secrets, [*found.strange, *found.old])
    except keys.KeysUnavailableError as error:
        raise _failed(error) from None
    typer.echo(f"signed: {len(found.strange)} that were not, {len(found.old)} of an older secret; {len(found.good)} keys were good before")


def _day(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M}Z"
