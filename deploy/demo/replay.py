"""Replays real orders through the public API: `python -m deploy.demo.replay [--full FILE] [--progress FILE]`.

Reads RAPPORT_INGEST_URL and RAPPORT_WRITE_KEY (`source .rapport/env`). Prints `<calls through> <calls in all>` after each
batch; ends with code 1 and a sentence when the calls cannot be delivered. With --progress a second start goes on where
the first one ended, with the same dates.
"""

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.demo.messages import calls, weeks_to_now
from deploy.demo.retail import NotRetailError, read_invoices, read_rows
from deploy.demo.sdk import Batch, SendError, batches, send_all

SLICE = Path(__file__).with_name("online_retail_slice.csv.gz")


class ReplaySettings(BaseSettings):
    """Read from RAPPORT_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_")

    ingest_url: str = Field(description="where the tracking API is")
    write_key: str = Field(description="key of the source that the events come under")


@dataclass
class Progress:
    """How far the replay of one source has come, and by how many weeks its dates are moved."""

    source: str
    weeks: int
    batches: int = 0
    finished: bool = False

    @classmethod
    def load(cls, path: Path | None, source: str) -> "Progress | None":
        """What was kept for this source; None when nothing was."""
        with suppress(OSError, ValueError, TypeError):
            kept = cls(**json.loads(path.read_text())) if path else None
            return kept if kept and kept.source == source else None
        return None

    def save(self, path: Path | None) -> None:
        """Keep it, in one step. Raises OSError."""
        if path is not None:
            part = path.with_suffix(".part")
            part.write_text(json.dumps(asdict(self)))
            part.rename(path)


def prepare(source: Path, kept: Progress | None) -> tuple[Progress, list[Batch]]:
    """All batches of a source. Raises NotRetailError, OSError."""
    invoices = read_invoices(read_rows(source))
    progress = kept or Progress(source.name, weeks_to_now(invoices[-1].at, datetime.now(UTC)))
    return progress, list(batches(call.body for call in calls(invoices, progress.weeks)))


async def replay(settings: ReplaySettings, source: Path, path: Path | None) -> None:
    """Send what is not through yet. Raises SendError, NotRetailError, OSError."""
    progress, packed = prepare(source, Progress.load(path, source.name))
    total = sum(len(batch.calls) for batch in packed)

    def on_sent(number: int, through: int) -> None:
        progress.batches = number
        progress.save(path)
        print(through, total, flush=True)  # noqa: T201 the command's answer

    await send_all(packed, settings.ingest_url, settings.write_key, progress.batches, on_sent)
    progress.finished = True
    progress.save(path)


def main() -> None:
    """Read the command line and the environment, replay."""
    parser = argparse.ArgumentParser(description="replays real orders through the public API")
    parser.add_argument("--full", type=Path, default=SLICE, help="the whole set's CSV, also .gz; without it the slice")
    parser.add_argument("--progress", type=Path, help="file that keeps how far it has come")
    arguments = parser.parse_args()
    try:
        asyncio.run(replay(ReplaySettings(), arguments.full, arguments.progress))
    except ValidationError as error:
        sys.exit("set " + ", ".join(f"RAPPORT_{str(one['loc'][0]).upper()}" for one in error.errors()) + ": source .rapport/env")
    except (SendError, NotRetailError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
