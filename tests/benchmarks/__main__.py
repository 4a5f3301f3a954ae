"""Print the ratios that CONTRIBUTING speaks of: `python -m tests.benchmarks`, or only those named after it."""

from argparse import ArgumentParser
from functools import partial

from . import affordable, html, real, replay, search, startup, turns

if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="startup, turns, replay, search, html, real, affordable; all by default",
    )
    parser.add_argument("--every", type=int, default=6, help="real: meet each so manieth defect")
    parser.add_argument("--seeds", type=int, default=2, help="real: each with so many seeds")
    parser.add_argument(
        "--row", action="append", choices=affordable.ROWS, help="affordable: these rows only; again for each"
    )
    options = parser.parse_args()
    parts = {
        "startup": startup.measure,
        "turns": turns.measure,
        "replay": replay.measure,
        "search": search.measure,
        "html": html.measure,
        "real": partial(real.measure, every=options.every, seeds=options.seeds),
        "affordable": partial(affordable.measure, options.row or affordable.ROWS),
    }
    for name in options.parts or parts:
        parts[name]()
