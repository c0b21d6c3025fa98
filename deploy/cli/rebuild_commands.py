"""`rapport rebuild warehouse | profile | segmentation | messaging`, `rapport rebuild list | cancel`: views made again, by the query API."""

import time
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli.api import Refused, api
from shared.contracts.rebuilds import View

POLL_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0
app = typer.Typer(no_args_is_help=True, help="Make a view again from the log, and from ClickHouse where the log is shorter.")


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Loss = Annotated[bool, typer.Option("--accept-loss", help="Forget what neither the log nor ClickHouse has, without asking about it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Stay and print how far it is, until it is done.")]


@app.command()
def warehouse(
    from_: Annotated[
        datetime | None,
        typer.Option("--from", help="Load what the log took since then (UTC) and no more.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    yes: Yes = False,
    wait: Wait = True,
) -> None:
    """Load ClickHouse's tables again from the log. Rows that are there stay; what is there twice counts once."""
    body = {} if from_ is None else {"from": from_.isoformat() + "Z"}
    _order(View.WAREHOUSE, body, yes, wait)


@app.command()
def profile(yes: Yes = False, accept_loss: Loss = False, wait: Wait = True) -> None:
    """Links and profiles, from the log and from ClickHouse. Links that are older than the log stay as they are."""
    _order(View.PROFILE, {}, yes, wait, accept_loss)


@app.command()
def segmentation(yes: Yes = False, accept_loss: Loss = False, wait: Wait = True) -> None:
    """Features and memberships. Nobody enters or leaves a segment again by it."""
    _order(View.SEGMENTATION, {}, yes, wait, accept_loss)


@app.command()
def messaging(yes: Yes = False, accept_loss: Loss = False, wait: Wait = True) -> None:
    """Who stands where in which journey. Nobody is mailed again; nothing is mailed until it is done."""
    _order(View.MESSAGING, {}, yes, wait, accept_loss)


@app.command("list")
def list_() -> None:
    """Print every order, newest first."""
    table = Table("id", "view", "asked", "state", "records", box=None)
    for one in _told(lambda asked: asked.ask("GET", "rebuilds"))["data"]:
        table.add_row(one["id"], one["view"], one["asked_at"], one["state"], _share(one))
    Console().print(table)


@app.command()
def cancel(rebuild: Annotated[str, typer.Argument(help="Id, as `rapport rebuild list` prints it.")]) -> None:
    """Slots that have not begun do not begin; those that have go on, since they have forgotten what they had."""
    one = _told(lambda asked: asked.ask("DELETE", f"rebuilds/{rebuild}"))
    typer.echo(f"{one['id']}: {one['state']}")


def _told(work: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = work(api())
    except Refused as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(1) from None
    return found


def _order(view: View, body: dict[str, Any], yes: bool, wait: bool, accept_loss: bool = False) -> None:
    """Whoever has read what would be lost, and says yes to it, accepts it; `--yes` alone does not."""
    plan = _told(lambda asked: asked.ask("GET", f"rebuilds:plan?view={view.value}"))
    typer.echo(f"{view.value}: {plan['records']} records are to be read; {plan['message']}")
    loses = plan["loses"]
    if loses and yes and not accept_loss:
        typer.echo("Not ordered: something would be forgotten for good. `--accept-loss` does it all the same.", err=True)
        raise typer.Exit(1)
    if not yes:
        typer.confirm("Rebuild it, and forget that?" if loses and not accept_loss else "Rebuild it?", abort=True)
    name = f"cli-{time.time_ns()}"
    one = _told(
        lambda asked: asked.ask("POST", "rebuilds", {"view": view.value, "accept_loss": accept_loss or (loses and not yes)} | body, name)
    )
    typer.echo(f"ordered: {one['id']}")
    if wait:
        _follow(one["id"])


def _follow(rebuild: str) -> None:
    """Print how far it is until it is done; code 1 if it ends otherwise. What does not answer for a while is asked again."""
    last_read, last_at, silent = 0, time.monotonic(), time.monotonic()
    while True:
        try:
            one = api().ask("GET", f"rebuilds/{rebuild}")
            silent = time.monotonic()
        except Refused as refused:
            if time.monotonic() - silent > PATIENCE_SECONDS:
                typer.echo(f"{refused}; the workers go on: `rapport rebuild list` says how far they are", err=True)
                raise typer.Exit(1) from None
            time.sleep(POLL_SECONDS)
            continue
        read = (one["progress"] or {}).get("records_read", last_read)
        now = time.monotonic()
        rate = max(0.0, (read - last_read) / max(now - last_at, 0.001))
        last_read, last_at = read, now
        typer.echo(f"{one['state']:>8}  {_share(one)}  {rate:,.0f}/s")
        if one["state"] == "done":
            return
        if one["state"] not in ("asked", "running"):
            typer.echo(f"It was not carried out: {one['state']}.", err=True)
            raise typer.Exit(1)
        time.sleep(POLL_SECONDS)


def _share(one: dict[str, Any]) -> str:
    """How far an order is: of records, and of slots or partitions."""
    told = one["progress"]
    if told is None:
        return "not known now"
    share = 100 * told["records_read"] / told["records"] if told["records"] else 100 * told["done"] / max(told["parts"], 1)
    return f"{share:5.1f} %, {told['records_read']:,} of {told['records']:,} records, {told['done']} of {told['parts']} parts done"
