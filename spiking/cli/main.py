"""`spiking COMMAND ...`: finds the command and turns a user's mistakes into one line and an exit status.

Exit status 0: done; 1: failed; 2: a mistake in the arguments. A command's module is imported when it is asked for, so
that `spiking --help` waits for neither torch nor Lightning.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from spiking import __version__
from spiking.cli.mistake import Mistake
from spiking.datasets.errors import DataError

COMMANDS = {
    "train": "train a network on event recordings: spiking train digits",
    "evaluate": "measure a trained network on its test recordings: spiking evaluate RUN",
    "continual": "learn tasks in turn and measure what is kept: spiking continual permuted-mnist --root DIR",
    "sdr": "sparse representations and Hebbian memories, theory beside simulation: spiking sdr --out DIR",
    "reservoir": "a liquid state machine on event recordings: spiking reservoir nalsm --data digits",
    "sparsey": "single-trial memories of sparse codes, measured: spiking sparsey mnist --root DIR",
    "convert": "turn a language model into a spiking one: spiking convert MODEL --text FILE",
    "generate": "let a language model go on: spiking generate MODEL --prompt TEXT",
    "datasets": "list, prepare or describe data sets: spiking datasets list",
    "bench": "time the ops next to other libraries: spiking bench --op lif",
    "doctor": "say what this machine has and what runs where: spiking doctor [--warm]",
}


def usage() -> str:
    """The text of `spiking --help`."""
    rows = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    more = "`spiking COMMAND --help` says more; `spiking --version` names the version."
    return "\n".join(["usage: spiking COMMAND ...", "", *rows, "", more])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Arguments:
        argv: the words after `spiking`; `None` takes the program's.

    Returns:
        the exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    command = words[0]
    if command not in COMMANDS:
        return _complain("spiking", f"no command {command!r}; there are {', '.join(COMMANDS)}", 2)
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, *where: (
        f"spiking {command}: {message}\n" if isinstance(message, UserWarning) else plain(message, *where)
    )
    try:
        status: int = import_module(f"spiking.cli.{command}").main(words[1:])
        return status
    except Mistake as mistake:
        return _complain(f"spiking {command}", str(mistake), 2)
    except DataError as error:
        return _complain(f"spiking {command}", str(error), 1)
    except KeyboardInterrupt:
        return _complain(f"spiking {command}", "interrupted", 1)
    finally:
        warnings.formatwarning = plain


def _complain(who: str, what: str, status: int) -> int:
    print(f"{who}: {what}", file=sys.stderr)
    return status
