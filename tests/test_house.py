"""The shape of the house: floors, lazy imports, links, names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = ("kernels", "datasets", "plasticity")
# Where the names that are no modules come from.
HOME = {"Events": "spiking.events", "detach": "spiking.neurons", "__version__": "spiking"}
# What a module may import of ours, by the longest matching prefix. Floors are listed from the ground up.
FLOORS = [
    ("spiking.events",),
    ("spiking.kernels",),
    ("spiking.datasets",),
    (
        "spiking.coding", "spiking.neurons", "spiking.networks", "spiking.readout", "spiking.init", "spiking.plots",
        "spiking.nir",
    ),
    ("spiking.plasticity",),
    ("spiking.training",),
    ("spiking.reservoir",),
    ("spiking.llm",),
    ("spiking.cli", "spiking.presets", "spiking.doctor", "spiking.bench"),
]


def floor(module: str) -> int:
    for level, names in enumerate(FLOORS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return level
    raise AssertionError(f"{module}: on no floor; add it to FLOORS")


def modules() -> list[tuple[str, Path]]:
    found = []
    for folder in ("spiking", *LINKS):
        prefix = "spiking" if folder == "spiking" else f"spiking.{folder}"
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "spiking" and parts[0] in LINKS:
                continue
            name = ".".join([prefix, *parts]).removesuffix(".__init__")
            if name != "spiking":
                found.append((name, path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "spiking":
                names |= {HOME.get(alias.name, f"spiking.{alias.name}") for alias in node.names}
            else:
                names.add(node.module or "")
    return {name for name in names if name.startswith("spiking.")}


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_import_goes_up(name: str, path: Path) -> None:
    upward = [other for other in imports(path) if floor(other) > floor(name)]
    assert not upward, f"{name} imports {upward} from a floor above"


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_pull_in_nothing_above_them(tmp_path: Path) -> None:
    code = "import sys, spiking.kernels; print([m for m in sys.modules if m.startswith(('spiking.', 'transformers'))])"
    loaded = ast.literal_eval(run(code, tmp_path))
    assert all(name.startswith(("spiking.kernels", "spiking.events")) for name in loaded), loaded


def test_links_and_package_are_the_same_files() -> None:
    for name in LINKS:
        link = ROOT / "spiking" / name
        assert link.is_symlink() and link.resolve() == ROOT / name


def test_our_datasets_do_not_shadow_others(tmp_path: Path) -> None:
    code = "import importlib.util, spiking.datasets; print(importlib.util.find_spec('kernels') is None)"
    assert run(code, tmp_path).strip() == "True"


def test_a_missing_name_is_said() -> None:
    import spiking

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        spiking.nothing  # noqa: B018  the access itself raises
    assert "Events" in dir(spiking)
