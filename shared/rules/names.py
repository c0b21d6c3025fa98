"""The names by which rules ask for calls that have none of their own."""

from typing import Final

PAGE_VIEWED: Final = "Page Viewed"
SCREEN_VIEWED: Final = "Screen Viewed"
