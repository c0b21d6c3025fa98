"""`rapport acls`."""

from typing import Annotated

import typer
from pydantic import Field

from deploy.cli import acls
from shared.adapters.environment import read_environment
from shared.adapters.kafka_settings import KafkaSettings
from shared.contracts.rights import rights


class AclSettings(KafkaSettings):
    """Of an administrator of Kafka: who sets rights needs ALTER and DESCRIBE on the cluster."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port of a broker")
    group_prefix: str = Field("rapport", description="consumer groups are <prefix>-<stage>, as the processes have it")


def run(
    apply: Annotated[bool, typer.Option("--apply", help="Set them now, by RAPPORT_KAFKA_*; without it commands are printed.")] = False,
    prefix: Annotated[str, typer.Option(help="A process's user is called so, and then as the process.")] = acls.USER_PREFIX,
    user: Annotated[list[str] | None, typer.Option(help="PROCESS=USER for one that is called otherwise; may be given again.")] = None,
) -> None:
    """What each process may do in Kafka: kafka-acls commands, or set at once. Safe to repeat; takes nothing away."""
    settings = read_environment("rapport acls", AclSettings)
    wanted = rights(settings.group_prefix)
    try:
        of = acls.users(prefix, user or ())
        if not apply:
            typer.echo("\n".join(acls.commands(wanted, of, settings.kafka_bootstrap)))
            return
        given, beyond = acls.apply(settings.kafka.admin({"log_level": 0}), wanted, of)
    except acls.AclsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{given} rights given, {len(wanted) - given} were there")
    for one in beyond:
        typer.echo(f"not in the table, and left as it is: {one}", err=True)
