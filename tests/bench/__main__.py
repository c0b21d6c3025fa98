"""How fast Rapport is on this machine: `python -m tests.bench [--seconds 60] [--quick] [--without warehouse] [--only PHASE ...]`.

Starts everything itself, on free ports and in a temporary folder, and drives it over its public API. The figures are printed beside their
targets and written to bench.json in RAPPORT_HOME (.rapport). No test: nothing fails when a target is missed.
"""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from deploy.local.settings import BadSettingError, read_settings
from tests.bench.phases import PHASES, Bench
from tests.bench.report import show, write

QUICK_SECONDS = 10.0
NO_TERMINAL_WIDTH = 160


def main() -> int:
    """Code 0 when the run went through, whatever it found; 1 when it could not."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="how fast Rapport is on this machine")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a rate must hold, and other measurements take")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s in place of --seconds: shows that it works, no more")
    parser.add_argument("--without", choices=["warehouse"], action="append", default=[], help="leave a service out")
    parser.add_argument("--only", choices=PHASES, action="append", help="measure this only (may be repeated)")
    options = parser.parse_args()
    console = Console(soft_wrap=True) if sys.stdout.isatty() else Console(soft_wrap=True, width=NO_TERMINAL_WIDTH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is stopped
    bench = Bench(QUICK_SECONDS if options.quick else options.seconds, options.without, console)
    try:
        home = read_settings().home
        bench.run(options.only or PHASES)
    except (BadSettingError, OSError) as error:
        console.print(f"not measured: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        show(bench.figures, console)
        console.print("stopped: that is what was measured until then; nothing is written")
        return 130
    show(bench.figures, console)
    console.print(f"written to {write(bench.figures, Path(home))}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
