"""Settings of messaging: what is wrong is said at the start."""

import time

import pytest
from pydantic import ValidationError

from services.messaging.dispatcher import SystemClock
from services.messaging.settings import Settings

NEEDED = {"RAPPORT_KAFKA_BOOTSTRAP": "127.0.0.1:9092", "RAPPORT_REDIS_URL": "redis://127.0.0.1:6379/0"}


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (NEEDED | {f"RAPPORT_{name.upper()}": value for name, value in variables.items()}).items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize(
    ("text", "parts"),
    [("journeys,dispatcher", {"journeys", "dispatcher"}), (" dispatcher ,", {"dispatcher"}), ("journeys", {"journeys"})],
)
def test_parts_are_named_with_commas(monkeypatch: pytest.MonkeyPatch, text: str, parts: set[str]) -> None:
    assert settings(monkeypatch, messaging_parts=text).messaging_parts == parts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("messaging_parts", ""),
        ("messaging_parts", "journeys,mail"),
        ("smtp_url", "http://mail"),
        ("mail_from", "nobody"),
        ("dispatch_lease_seconds", "10"),
        ("dispatch_batch", "0"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"(?i){name}"):
        settings(monkeypatch, **{name: value})


def test_the_mail_servers_password_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(monkeypatch, smtp_url="ftp://me:secret@mail.example.com")
    assert "secret" not in str(refused.value)


def test_the_clock_of_leases_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 3600.0
    with monkeypatch.context() as patch:
        patch.setattr(time, "clock_gettime", lambda which: slept if which == time.CLOCK_BOOTTIME else 0.0)
        patch.setattr(time, "monotonic", lambda: 0.0)
        now = SystemClock().steady_s()
    assert now == slept
