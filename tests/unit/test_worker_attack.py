"""Two thousand small identifies of a profile of 200 KB are no 400 MB, in a process of their own whose memory is measured."""

import subprocess
import sys

from deploy.local.settings import PROJECT
from tests.unit.attack_child import OTHERS

COMPOSE_BYTES = 512 << 20
"""What docker-compose.yml gives a worker; tests/integration/test_worker_memory.py reads it there."""


def test_thousands_of_identifies_of_a_fat_profile_take_a_few_batches_of_memory() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.unit.attack_child"], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=True
    )
    before, most, said = map(int, child.stdout.split())
    print(f"peak {most >> 20} MB, {before >> 20} MB before the attack, {said} profiles said")  # noqa: T201 - the figures of the run
    assert most < COMPOSE_BYTES
    assert most - before < 100 << 20
    assert said < OTHERS + 20
