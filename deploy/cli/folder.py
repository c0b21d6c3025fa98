"""Which installation a command is about."""

import typer

from deploy.local.settings import BadSettingError, Home, read_settings


def home_folder() -> Home:
    """The folder that the environment names; ends the command with a sentence when a setting is wrong."""
    try:
        return Home(read_settings().home)
    except BadSettingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
