"""`rapport rebuild`: what it says before it begins, and what an order, a list and a cancellation look like."""

import threading
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import pytest
import uvicorn
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.local.ports import HOST, free_port
from services.control.domain.replaying import Append
from shared.contracts.rebuilds import LIFE_MS, View
from shared.contracts.topics import EVENT_RESOLVED
from shared.reading.inputs import Where
from tests.api_stores import ADMIN, READ
from tests.control_fakes import World
from tests.waiting import wait_until


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The query API on a port, over stores in memory."""
    made, port = World(), free_port()
    server = uvicorn.Server(uvicorn.Config(made.app, host=HOST, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until("the API answers", lambda: server.started)
    monkeypatch.setenv("RAPPORT_QUERY_URL", f"http://{HOST}:{port}")
    monkeypatch.setenv("RAPPORT_QUERY_KEY", ADMIN)
    yield made
    server.should_exit = True
    thread.join()


def said(*arguments: str, answer: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["rebuild", *arguments], input=answer)
    return done.exit_code, done.output


def test_what_cannot_be_brought_back_is_said_before_anything_is_ordered(world: World) -> None:
    world.log.begins[EVENT_RESOLVED, 0] = 7
    code, output = said("segmentation", answer="n\n")
    assert (code, world.log.orders) == (1, [])
    assert "7 records have left the log" in output
    assert "would be lost" in output
    code, output = said("segmentation", "--no-wait", answer="y\n")
    assert (code, [one.view for one in world.log.orders]) == (0, [View.SEGMENTATION])


def test_yes_alone_does_not_accept_that_something_is_forgotten(world: World) -> None:
    world.log.begins[EVENT_RESOLVED, 0] = 7
    code, output = said("segmentation", "--yes", "--no-wait")
    assert (code, world.log.orders, "--accept-loss" in output) == (1, [], True)
    assert said("segmentation", "--yes", "--accept-loss", "--no-wait")[0] == 0
    assert [one.view for one in world.log.orders] == [View.SEGMENTATION]


def test_a_loss_that_comes_about_after_the_question_is_not_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan said that the log has everything; by the order it has not."""
    plan = world.log.starts

    async def once(places: Iterable[Where]) -> dict[Where, int]:
        found = await plan(places)
        world.log.begins[EVENT_RESOLVED, 0] = 7
        return found

    monkeypatch.setattr(world.log, "starts", once)
    code, output = said("segmentation", "--no-wait", answer="y\n")
    assert (code, world.log.orders, "accept_loss" in output) == (1, [], True)


def test_following_an_order_that_nobody_heeded_in_time_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    append = world.log.append

    async def a_week_ago(records: Sequence[Append]) -> None:
        await append(records)
        world.log.orders = [msgspec.structs.replace(one, asked_at=one.asked_at - LIFE_MS) for one in world.log.orders]

    monkeypatch.setattr(world.log, "append", a_week_ago)
    code, output = said("profile", "--yes")
    assert (code, output.splitlines()[-1]) == (1, "It was not carried out: expired.")


def test_an_order_is_listed_and_can_be_cancelled(world: World) -> None:
    code, output = said("warehouse", "--from", "2026-06-01", "--yes", "--no-wait")
    (order,) = world.log.orders
    assert (code, order.from_ms, f"ordered: {order.id}" in output) == (0, 1_780_272_000_000, True)
    assert "asked" in said("list")[1]
    assert said("cancel", order.id) == (0, f"{order.id}: cancelled\n")


def test_a_key_that_may_not_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_QUERY_KEY", READ)
    code, output = said("profile", "--yes")
    assert (code, "scope `admin`" in output) == (1, True)
