"""The command line: demo, transfer, info, bench."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from . import __version__
from .alignments import ALIGNMENTS

EXPECTED = (
    ValueError,
    OSError,
    ImportError,
    MemoryError,
    ArithmeticError,
    RuntimeError,
)  # told in one sentence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code is 0 when done, 2 for bad input, 130 when interrupted, or pytest's."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command != "bench":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if args.command is None:
        parser.print_help()
        return 0
    args.pytest = rest
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return _fail("interrupted, nothing was written", 130)
    except EXPECTED as error:
        if args.debug:
            traceback.print_exc()
        return _fail(" ".join(str(error).split()) or type(error).__name__, 2)


def _fail(message: str, code: int) -> int:
    print(f"isthmus: error: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"isthmus: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="isthmus",
        allow_abbrev=False,
        description="Measure the shift between two domains, align them, train on one, tune on the other.",
    )
    parser.add_argument("--version", action="version", version=f"isthmus {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=run)
        return sub

    demo = command("demo", _demo, "run two transfers on built-in data; needs no file and no network")
    demo.add_argument(
        "--out", default="isthmus-demo", help="folder for data, models and reports (default: %(default)s)"
    )
    demo.add_argument("--force", action="store_true", help="replace an earlier demo in the out folder")

    job = command(
        "transfer", _transfer, "train on a source file, move to a target file, say whether it helped"
    )
    job.add_argument("--source", required=True, help="labelled rows: .csv, .npz (arrays X, y) or .parquet")
    job.add_argument("--target", required=True, help="rows of the new domain; some, all or none labelled")
    job.add_argument("--label", default="target", help="name of the label column (default: %(default)s)")
    job.add_argument("--out", required=True, help="folder for model, metrics, predictions and report")
    job.add_argument("--task", choices=("auto", "classification", "regression"), default="auto")
    said = "; ".join(f"{name}: {what}" for name, what in ALIGNMENTS.items())
    job.add_argument("--align", choices=tuple(ALIGNMENTS), default="coral", help=f"{said} (default: coral)")
    job.add_argument("--model", choices=("auto", "mlp", "linear"), default="auto")
    job.add_argument(
        "--test-size", type=float, default=0.5, help="share of the labelled target rows held out (0.5)"
    )
    job.add_argument("--seed", type=int, default=0, help="seed of split, training and resampling (0)")
    job.add_argument("--force", action="store_true", help="replace an earlier result in the out folder")

    info = command("info", _info, "print versions, processor, SIMD level, threads and GPU")
    info.add_argument("--json", action="store_true", help="print JSON")

    bench = command("bench", _bench, "run the benchmarks; further arguments go to pytest")
    bench.add_argument("--full", action="store_true", help="all cases, not the quick ones only")
    return parser


def _demo(args: argparse.Namespace) -> int:
    from . import demo, folders
    from .job import transfer

    examples = [demo.digits(), demo.diabetes()]
    files = {example: [f"{example.name}-{role}.csv" for role in ("source", "target")] for example in examples}
    written = [name for example in examples for name in (example.name, *files[example])]
    said = []
    with folders.new_folder(args.out, force=args.force, replaces=written) as new:
        for example in examples:
            paths = [new / name for name in files[example]]
            demo.write_csv(paths[0], example.X, example.y, example)
            demo.write_csv(paths[1], example.X_target, example.y_target, example)
            with _Progress(f"{example.name}: ") as progress:
                result = transfer(
                    *paths,
                    label=example.label,
                    test_size=example.test_size,
                    out=new / example.name,
                    progress=progress,
                )
            source, target = (f"{args.out}/{name}" for name in files[example])
            again = ["isthmus", "transfer", "--source", source, "--target", target, "--label", example.label]
            again += ["--test-size", str(example.test_size), "--out", f"{example.name}-again"]
            said.append(f"{example.title}\n\n{result}\n\n  the same by hand\n    {shlex.join(again)}\n")
    print("\n".join(said))
    print(f"{args.out} holds the data, models, metrics, predictions and reports of both examples;")
    print(f"open {args.out}/{examples[0].name}/report.html in a browser.")
    return 0


def _transfer(args: argparse.Namespace) -> int:
    from .job import FILES, transfer

    with _Progress() as progress:
        result = transfer(
            args.source,
            args.target,
            label=args.label,
            task=args.task,
            align=args.align,
            model=args.model,
            test_size=args.test_size,
            random_state=args.seed,
            out=args.out,
            force=args.force,
            progress=progress,
        )
    print(f"{result}\n\n  written to {args.out}: {', '.join(FILES)}")
    return 0


class _Progress:
    """Shows the running stage on one line of a terminal; silent anywhere else."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.shown = sys.stderr.isatty()

    def __enter__(self) -> Callable[[str], None]:
        return self._show

    def _show(self, stage: str) -> None:
        if self.shown:
            print(f"\r\x1b[K{self.prefix}{stage} ...", end="", file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _info(args: argparse.Namespace) -> int:
    from . import backends

    values = backends.info()
    if args.json:
        print(json.dumps(values, indent=2))
    else:
        width = max(map(len, values))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in values.items()))
    return 0


def _bench(args: argparse.Namespace) -> int:
    if find_spec("pytest") is None or find_spec("pytest_benchmark") is None:
        raise ImportError("the benchmarks need pytest-benchmark: pip install 'isthmus[bench]'")
    here = Path(__file__).resolve().parent
    # The wheel holds the repository's benchmarks; a source checkout has them beside python/.
    folder = next(
        (f for f in (here / "benchmarks", here.parents[1] / "benchmarks") if any(f.glob("*.py"))), None
    )
    if folder is None:
        raise FileNotFoundError(f"{here / 'benchmarks'} must hold the benchmarks, found none")
    chosen = [] if args.full else ["-m", "quick"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(folder),
        "-q",
        "-p",
        "no:cacheprovider",
        *chosen,
        *args.pytest,
    ]
    return subprocess.run(command, check=False).returncode
