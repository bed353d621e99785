"""What README and docs say: their code runs, their links lead somewhere, their commands exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from spiking.cli.config import parse
from spiking.cli.main import COMMANDS
from spiking.cli.train import TINY, _words, preset_file, presets

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def pages() -> list[str]:
    return [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{page}: {target} does not exist"


@pytest.mark.parametrize("page", pages())
def test_named_files_exist(page: str) -> None:
    for name in re.findall(r"`((?:examples|benchmarks|docs|tests)/[\w./-]+\.\w+)`", (ROOT / page).read_text()):
        assert (ROOT / name).exists(), f"{page}: {name} does not exist"


def commands() -> list[list[str]]:
    text = "\n".join(page.read_text() for page in PAGES)
    lines = {*re.findall(r"^((?:spiking|make) .*)$", text, re.MULTILINE)}
    lines |= {*re.findall(r"`((?:spiking|make) [a-z][^`]*)`", text)}
    return [shlex.split(line, comments=True) for line in sorted(lines)]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_named_commands_exist(words: list[str]) -> None:
    """Presets and overrides of `spiking train` included."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert words[1] in COMMANDS
    if words[1] == "train" and len(words) > 2 and words[2] == TINY:
        assert "--text" in words
    elif words[1] == "train" and len(words) > 2:
        assert words[2] in presets()
        _, overrides = _words().parse_known_args(words[2:])
        parse(words[2], [] if "--options" in words else overrides, preset_file(words[2]))


def test_the_loop_of_the_readme_learns(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 20
    exec(compile(code[1], "README.md", "exec"), {})
    accuracy = float(re.search(r"tensor\(([0-9.]+)\)", capsys.readouterr().out)[1])
    assert accuracy > 0.8


@pytest.mark.parametrize(
    ("page", "among"),
    [
        ("README.md", "ALIF("), ("README.md", "lsm.adapt"), ("docs/coding.md", ""), ("docs/continual.md", ""),
        ("docs/convolution.md", ""),
        ("docs/neurons.md", ""), ("docs/nir.md", ""), ("docs/reservoir_op.md", ""), ("docs/spike_linear.md", ""),
        ("docs/synapses.md", ""),
    ],
)  # fmt: skip
def test_blocks_run_as_they_are_written(
    page: str, among: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied from the page, with nothing defined before: those that have `among` in them."""
    if page == "docs/nir.md":
        pytest.importorskip("nir", reason="spiking.nir needs the extra nir")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    blocks = [block for block in blocks if among in block]
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", ["docs/sparsey.md", "docs/sdr.md"])
def test_blocks_run_in_order_and_give_what_they_say(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that ends in a number is worth it, to the digits that are printed."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks, checked = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL), 0
    for block in blocks:
        lines = block.splitlines()
        for node in ast.parse(block).body:
            printed = re.search(r"# (-?\d+\.\d+(?:e-?\d+)?)", lines[(node.end_lineno or 1) - 1])
            if not isinstance(node, ast.Expr) or printed is None:
                exec(compile(ast.Module([node], []), page, "exec"), names)
                continue
            value = eval(compile(ast.Expression(node.value), page, "eval"), names)
            digits = len(re.sub(r"e.*|[-.]", "", printed[1]).lstrip("0")) or 1
            assert value == pytest.approx(float(printed[1]), rel=0.51 * 10 ** (1 - digits)), ast.unparse(node)
            checked += 1
    assert len(blocks) == 2 and checked >= 2
