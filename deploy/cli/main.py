"""The command `rapport`."""

from typing import Annotated

import typer

from deploy.cli import acl_commands, definition_commands, definitions, key_commands, local_commands, rebuild_commands, status, tag_commands

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals can hold keys
    help="Rapport: live customer profiles, segments and journeys.",
)
app.add_typer(key_commands.app, name="keys")
app.add_typer(rebuild_commands.app, name="rebuild")
app.add_typer(tag_commands.app, name="tag")
app.command("acls")(acl_commands.run)
app.command("run")(local_commands.run)
app.command("up")(local_commands.up)
app.command("reset")(local_commands.reset)
app.command("status")(status.status)
app.command("logs")(local_commands.logs)
app.command("check")(definitions.check)
app.command("test")(definitions.run_tests)
app.command("schema")(definitions.schema)
app.command("plan")(definition_commands.plan)
app.command("apply")(definition_commands.apply)
app.command("diff")(definition_commands.diff)
app.command("history")(definition_commands.history)
app.command("export")(definition_commands.export)
app.command("rollback")(definition_commands.rollback)


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Rapport: live customer profiles, segments and journeys."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("rapport"))
        raise typer.Exit


if __name__ == "__main__":
    app()
