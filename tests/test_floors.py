"""The house: floors, light imports, public names, the same kernels in every layer."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import isthmus as im
import pytest
from isthmus import kernels

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "isthmus"

# Lowest first; nothing imports upwards.
FLOORS = [
    *("errors", "machine", "config", "kernel_base", "kernels", "homes", "arrays", "algebra", "spectral"),
    *("threadpool", "blas", "reference", "cuda_module", "cupy_module", "gpu", "backends"),
    *("bandwidth", "ops", "mmd", "gradient", "two_sample"),
    *("rows", "features"),
    *("training", "exact", "source_model", "models"),
    *(
        "align.mathematics",
        "align.mathematics.pencil",
        "align.mathematics.shrinkage",
        "align.mathematics.geodesic",
        "align.mathematics.contrasts",
        "align.mathematics.neighbours",
        "align.mathematics.graphs",
        "align.mathematics.principal",
        "align.mathematics.box",
        "align.mathematics.box_dual",
        "align.mathematics.box_matrix",
        "align.mathematics.box_pivot",
        "align.mathematics.box_qp",
        "align.mathematics.ratio",
        "align.mathematics.krylov",
        "align.mathematics.embedding",
        "align.mathematics.kernel_rows",
        "align.mathematics.diagonal_pencil",
        "align.mathematics.row_reduction",
        "align.mathematics.problem",
        "align.mathematics.lanczos",
        "align.mathematics.z_form",
        "align.mathematics.views",
        "align.checks",
        "align.domains",
        "align.labelled",
        "align.classes",
        "align.label_columns",
        "align.mathematics.instances",
        "align.mathematics.two_maps",
        "align.mathematics.independence",
        "align.base",
        "align.component_base",
        "align.nearest",
        "align.augment",
        "align.instance",
        "align.biased",
        "align.moments",
        "align.scaling",
        "align.subspace",
        "align.transport",
        "align.components",
        "align.adaptation",
        "align.joint",
        "align.dependence",
        "align.classify",
        "align.mean_matching",
        "align.reweight",
        "align.target_shift",
        "align.density",
        "align.domain_classifier",
        "align.neighbour_weights",
        "align.pipeline",
        "align",
    ),
    *("splitting", "unlabelled", "per_domain", "scorers", "selection"),
    *("tuning", "transfer", "fine_tuning", "candidates", "model_file", "model_shapes", "persist"),
    *(
        "verdict",
        "report",
        "plot",
        "displays",
        "result",
        "folders",
        "datasets",
        "labels",
        "alignments",
        "job",
        "demo",
    ),
    *("cli", "__main__", "__init__"),
]
ALIGN_FAMILIES = (
    *("moments", "scaling", "subspace", "transport", "components", "joint", "dependence"),
    *("adaptation", "classify"),
    *("reweight", "target_shift", "density", "domain_classifier", "neighbour_weights"),
    *("nearest", "augment", "instance", "biased"),
)
# Libraries that only these files may name, wherever in the file.
OWNERS = {
    "ot": {"align.transport"},
    "torch": {"homes", "arrays"},
    "cupy": {"homes", "arrays", "cupy_module"},
    "matplotlib": {"plot", "displays"},
    "pyarrow": {"datasets"},
    "pandas": {"datasets"},
    "polars": {"datasets"},
    "safetensors": {"persist", "model_file"},
}


def modules():
    """Name inside the package and syntax tree of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def is_module(name):
    place = PACKAGE / name.replace(".", "/")
    return name == "_native" or place.is_dir() or place.with_suffix(".py").is_file()


def imported(name, tree):
    """(module inside the package, or library; whether it is ours) of each import statement."""
    package = name.split(".") if (PACKAGE / name.replace(".", "/")).is_dir() else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            top, _, rest = (node.module or "").partition(".")
            yield (rest or "__init__", True) if top == "isthmus" else (top, False)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = ".".join(filter(None, base))
            for alias in node.names:
                inside = f"{base}.{alias.name}".lstrip(".")
                if is_module(inside):
                    yield inside, True
                elif base:
                    yield base, True


def test_every_module_has_its_floor():
    assert {name for name, _ in modules()} <= set(FLOORS)


def test_nothing_imports_upwards():
    wrong = []
    for name, tree in modules():
        if name == "__init__":
            continue
        for target, ours in imported(name, tree):
            if ours and target != "_native":
                assert target in FLOORS, f"{name} imports {target}, which is no module"
                if FLOORS.index(target) >= FLOORS.index(name):
                    wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_the_families_of_align_do_not_import_each_other():
    for name, tree in modules():
        if name.removeprefix("align.") in ALIGN_FAMILIES:
            others = {f"align.{family}" for family in ALIGN_FAMILIES} - {name}
            assert not others & {target for target, ours in imported(name, tree) if ours}, name


def test_the_mathematics_of_align_knows_no_estimator():
    for name, tree in modules():
        if name.startswith("align.mathematics."):
            others = {target for target, ours in imported(name, tree) if ours and target.startswith("align")}
            assert all(target.startswith("align.mathematics.") for target in others), name


def test_only_their_owners_import_optional_libraries():
    for name, tree in modules():
        for target, ours in imported(name, tree):
            assert ours or name in OWNERS.get(target, {name}), f"{name} imports {target}"


def test_only_backends_knows_the_implementations():
    for name, tree in modules():
        if name not in ("backends", "reference"):
            implementations = {"_native", "gpu", "cuda_module", "cupy_module"} | (
                {"reference"} if name != "ops" else set()
            )
            assert not implementations & {target for target, ours in imported(name, tree) if ours}, name


def test_there_is_no_utils_module():
    assert not [name for name, _ in modules() if re.search("util|helper|common|misc", name)]


def test_import_isthmus_needs_numpy_only():
    code = (
        "import sys, isthmus;"
        "heavy = {'sklearn', 'scipy', 'torch', 'cupy', 'matplotlib', 'safetensors', 'isthmus._native'};"
        "print(sorted(heavy & set(sys.modules)), isthmus.RBF())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] RBF(bandwidth='median')"


def test_importing_changes_no_setting_and_opens_no_thread():
    code = """
import os, sys, threading, warnings
import numpy as np
def state():
    settings = dict(os.environ), np.geterr(), list(warnings.filters), sys.getrecursionlimit()
    return settings, threading.active_count()
before = state()
import isthmus
from isthmus import ops, mmd, two_sample
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_documented():
    for name in im.__all__:
        thing = getattr(im, name)
        assert name == "__version__" or thing.__doc__, name
    assert dir(im) == sorted(im.__all__)
    assert set(kernels.__all__) <= set(im.__all__)
    assert im.__all__ == sorted(im.__all__)
    with pytest.raises(AttributeError, match="module 'isthmus' has no attribute 'nothing'"):
        im.nothing  # noqa: B018


def test_functions_keep_their_name_when_a_module_shares_it():
    """`isthmus.transfer` and `isthmus.config` are modules too."""
    for name in ("transfer", "config"):
        importlib.import_module(f"isthmus.{name}")
        assert callable(getattr(im, name))
    code = (
        "import isthmus.transfer, isthmus.config, isthmus as im;"
        "assert callable(im.transfer) and callable(im.config)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_lazy_names_are_those_the_type_checker_sees():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {**im._MODULE_OF, "backends": None}


def test_the_version_is_the_one_of_the_project_file():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    expected = re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1]
    if im.__version__ == "0+unknown":
        pytest.skip("the package is not installed")
    assert im.__version__ == expected


def test_cpp_and_python_name_the_same_kernels():
    native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    assert set(native.kernel_names()) == kernels.NATIVE_NAMES
    assert len(native.kernel_names()) == len(kernels.NATIVE_NAMES)
