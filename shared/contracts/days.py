"""A day, for whatever keeps or waits by days."""

from typing import Final

DAY_MS: Final = 24 * 3600 * 1000
