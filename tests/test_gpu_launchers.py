"""Who runs launches on a GPU and why not: tables, notes, errors; CuPy played by a stand-in."""

import re
import sys
from contextlib import contextmanager
from itertools import chain
from types import ModuleType, SimpleNamespace

import isthmus as im
import numpy as np
import pytest
from isthmus import arrays, backends, cuda_module, cupy_module, gpu, homes
from isthmus.spectral import Frequencies

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
KERNEL = im.RBF(1.0)


class PlayedCupy:
    """What `cupy_module` and `arrays` use of CuPy, which writes down what happens to it."""

    def __init__(self, log=""):
        self.events, self._log = [], log
        self.cuda = SimpleNamespace(
            Device=lambda index: self._entered(f"device {index}"),
            ExternalStream=lambda address, index: self._entered(f"stream {address} of {index}"),
            compiler=SimpleNamespace(CompileException=type("CompileException", (Exception,), {})),
            runtime=SimpleNamespace(getDeviceCount=lambda: 1),
        )

    @contextmanager
    def _entered(self, what):
        self.events.append(what)
        yield
        self.events.append(f"end of {what}")

    def RawModule(self, *, code, options):
        if self._log:
            raise self.cuda.compiler.CompileException(self._log)
        self.events.append((code, options))

        def get_function(name):
            self.events.append(name)
            return PlayedKernel(self.events)

        return SimpleNamespace(get_function=get_function)


class PlayedKernel:
    """Only what was written down can be set: a misspelt attribute fails."""

    __slots__ = ("events", "max_dynamic_shared_size_bytes")

    def __init__(self, events):
        self.events, self.max_dynamic_shared_size_bytes = events, 48 << 10

    def __call__(self, grid, block, arguments, *, shared_mem):
        (task,) = arguments
        assert task.shape == (1,) and task.dtype.kind == "V"
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.events.append((grid, block, task.tobytes(), shared_mem))


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda/entries.cuh").write_text("#pragma once\n")
    (tmp_path / "ops.hpp").write_text("// kernels\n")
    return tmp_path


@pytest.fixture
def where(monkeypatch):
    monkeypatch.setattr(homes.Home, "stream", lambda self: 77)
    monkeypatch.setattr(homes.Home, "chip", lambda self: (90, 132))
    return homes.Home("cupy", "cuda:1")


ENTRIES = {"small": ("Small<float>", 64, 1024, 24), "large": ("Large<double, 2>", 256, 70_000, 16)}


def test_cupy_compiles_only_what_is_launched_and_once_for_each_device(sources, where):
    cupy = PlayedCupy()
    launcher = cupy_module.Compiler(cupy, ENTRIES, sources)
    launcher.launch([("small", 7, b"s" * 24), ("small", 3, b"t" * 24)], where)
    code, options = cupy.events[2]
    assert options == ("--std=c++17", f"-I{sources}"), "CuPy adds the architecture itself"
    assert '#include "cuda/entries.cuh"\n' in code and "ISTHMUS_CUDA_KERNEL(small, Small<float>)" in code
    assert cupy.events[:2] == ["device 1", "stream 77 of 1"]
    assert cupy.events[3:] == [
        "isthmus_small",
        ((7,), (64,), b"s" * 24, 1024),
        ((3,), (64,), b"t" * 24, 1024),
        "end of stream 77 of 1",
        "end of device 1",
    ]
    cupy.events.clear()
    launcher.launch([("large", 1, b"l" * 16)], where)
    assert "isthmus_large" in cupy.events and ((1,), (256,), b"l" * 16, 70_000) in cupy.events
    cupy.events.clear()
    launcher.launch([("small", 7, b"s" * 24)], homes.Home("torch", "cuda:0"))
    assert "isthmus_small" in cupy.events, "another device needs its own"


def test_other_headers_make_other_text_for_the_cache_on_disk(sources):
    """CuPy keeps compiled code by the text it was given, which includes no header."""
    before = cupy_module.Compiler(PlayedCupy(), ENTRIES, sources).source("small")
    assert cupy_module.Compiler(PlayedCupy(), ENTRIES, sources).source("small") == before
    (sources / "ops.hpp").write_text("// other kernels\n")
    assert cupy_module.Compiler(PlayedCupy(), ENTRIES, sources).source("small") != before


def test_the_compilers_log_is_handed_on(sources, where):
    cupy = PlayedCupy(log="\n".join(f"line {i}" for i in range(40)))
    launcher = cupy_module.Compiler(cupy, ENTRIES, sources)
    with pytest.raises(RuntimeError, match=r"could not compile the kernel small:\nline 0\n") as error:
        launcher.launch([("small", 1, b"s" * 24)], where)
    assert "line 4" in str(error.value) and "line 5" not in str(error.value)


def test_every_kernel_of_a_plan_is_an_entry_whose_task_it_carries():
    """What both launchers look up by name."""
    address = 1 << 20
    rows = (address, (70, 5), (5, 1))
    stacks, outs = [(address, (2, 70, 5), (350, 5, 1))], [(address, (1,), (1,)), (address, (2,), (1,))]
    pairs, v, kernel = np.array([[0, 1]]), (address, (70, 3), (3, 1)), KERNEL + im.Laplacian(scale=2.0)
    entries = native.gpu_entries()
    for capability, fast in ((75, True), (90, False), (90, True)):
        how = ((capability, 4), lambda size: address, "float32")
        terms, out = (list(kernel.terms()), fast), (address, (70, 70), (70, 1))
        plans = [
            native.plan_kernel_matrix(*how, rows, None, *terms, out),
            native.plan_kernel_matmul(*how, rows, None, v, *terms, False, v),
            native.plan_block_sums(*how, stacks, None, pairs, *terms, *outs),
        ]
        for name, blocks, task in chain(*plans):
            body, threads, _, task_bytes = entries[name]
            assert blocks >= 1 and len(task) == task_bytes <= 4096 and body and threads % 32 == 0


def built(architectures="90a-real 80-virtual", devices=1):
    return SimpleNamespace(
        device_count=lambda: devices,
        build_info=lambda: {"cuda": "13.0", "architectures": architectures, "driver": "none"},
        launch=lambda index, stream, launches: LAUNCHED.append((index, stream, launches)),
    )


LAUNCHED = []


@pytest.fixture
def clear_launchers(monkeypatch):
    """Launchers are looked for anew, during the test and after it."""
    found = (cuda_module.launcher, cuda_module._load, cupy_module.compiler)
    for cached in found:
        cached.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for cached in found:
        cached.cache_clear()


def test_the_built_module_gets_the_device_and_the_stream(clear_launchers, where):
    clear_launchers.setitem(sys.modules, "isthmus._cuda", built())
    launcher, why_not = cuda_module.launcher(90)
    assert why_not == ""
    launches = [("describe", 1, b"task")]
    launcher.launch(launches, where)
    assert LAUNCHED.pop() == (1, 77, launches)


@pytest.mark.parametrize(
    ("module", "capability", "why_not"),
    [
        (None, 90, "the module for CUDA was not built"),
        (built(devices=0), 90, r"the module for CUDA 13.0 finds no device \(driver: none\)"),
        (built(), 75, "has code for 90a-real 80-virtual, not for 7.5"),
        (built("90a-real"), 100, "has code for 90a-real, not for 10.0"),
        (built("80-real"), 75, "not for 7.5"),
        (built("80-real"), 90, "not for 9.0"),
    ],
)
def test_a_built_module_that_cannot_run_here_says_why(clear_launchers, module, capability, why_not):
    clear_launchers.setitem(sys.modules, "isthmus._cuda", module)
    launcher, found = cuda_module.launcher(capability)
    assert launcher is None and re.search(why_not, found)


@pytest.mark.parametrize(
    ("architectures", "capability"),
    [("80-virtual", 120), ("80-real", 86), ("90a-real", 90), ("75", 90), ("all-major", 75), ("native", 90)],
)
def test_code_for_earlier_gpus_is_taken(clear_launchers, architectures, capability):
    clear_launchers.setitem(sys.modules, "isthmus._cuda", built(architectures))
    assert cuda_module.launcher(capability)[0] is not None


def test_missing_sources_and_a_missing_cupy_are_named(clear_launchers, sources):
    module = ModuleType("_native")
    module.__file__, module.gpu_entries = str(sources / "_native.so"), dict
    launcher, why_not = cupy_module.compiler(module)
    assert launcher is None and f"not in {sources / 'csrc'}" in why_not
    cupy_module.compiler.cache_clear()
    (sources / "csrc/cuda").mkdir(parents=True)
    (sources / "csrc/cuda/entries.cuh").write_text("#pragma once\n")
    clear_launchers.setattr(cupy_module, "find_spec", lambda name: None)
    assert "CuPy is not installed (pip install 'isthmus[cuda13]'" in cupy_module.compiler(module)[1]
    cupy_module.compiler.cache_clear()
    clear_launchers.setattr(cupy_module, "find_spec", lambda name: name)
    broken = PlayedCupy()
    broken.cuda.runtime.getDeviceCount = lambda: (_ for _ in ()).throw(RuntimeError("no driver\nmore"))
    clear_launchers.setattr(cupy_module, "import_module", lambda name: broken)
    assert cupy_module.compiler(module)[1] == "CuPy sees no GPU (no driver)"
    cupy_module.compiler.cache_clear()
    clear_launchers.setattr(cupy_module, "import_module", lambda name: PlayedCupy())
    assert isinstance(cupy_module.compiler(module)[0], cupy_module.Compiler)


def test_explain_has_a_note_for_each_better_implementation(emulated_gpu, monkeypatch):
    x = emulated_gpu.torch.eye(3)
    monkeypatch.setattr(cuda_module, "launcher", lambda capability: (None, "it was not built"))
    im.kernel_matrix(x, kernel=KERNEL)
    assert str(backends.explain()).splitlines() == [
        "kernel_matrix: reference on cpu, float32",
        "  native: not used, it was not built",
        "  nvrtc: not used, tensors of the CPU play the GPU",
    ]
    monkeypatch.setattr(cupy_module, "compiler", lambda module: (emulated_gpu, ""))
    with im.config(precision="fast"):
        im.kernel_matrix(x, kernel=im.Energy())
    told = backends.explain()
    assert told.backend == "nvrtc" and emulated_gpu.launched
    assert told.notes[0] == "native: not used, it was not built"
    assert told.notes[1].startswith("precision='fast': nvrtc has no faster path")
    with im.config(backend="reference"):
        im.kernel_matrix(x, kernel=KERNEL)
    assert backends.explain().notes == tuple(
        f"{name}: not used, config(backend='reference')" for name in ("native", "nvrtc")
    )


def test_a_backend_asked_for_computes_or_says_why_not(emulated_gpu, monkeypatch):
    x = emulated_gpu.torch.eye(3)
    with im.config(backend="native"):
        im.kernel_matrix(x, kernel=KERNEL)
    assert backends.explain().backend == "native"
    message = (
        r"backend 'nvrtc' cannot compute kernel_matrix: nvrtc: not used, tensors of the CPU play the GPU"
    )
    with im.config(backend="nvrtc"), pytest.raises(RuntimeError, match=message):
        im.kernel_matrix(x, kernel=KERNEL)
    emulated_gpu.capability = 70
    with (
        im.config(backend="native"),
        pytest.raises(RuntimeError, match=r"has compute capability 7.0, below 7.5"),
    ):
        im.kernel_matrix(x, kernel=KERNEL)
    monkeypatch.setattr(backends, "_load_native", lambda: (None, "it could not be loaded"))
    with im.config(backend="native"), pytest.raises(RuntimeError, match="it could not be loaded"):
        im.kernel_matrix(x, kernel=KERNEL)
    im.kernel_matrix(x, kernel=KERNEL)
    assert backends.explain().backend == "reference"


def test_kernels_for_a_gpu_are_refused_on_the_host():
    message = "'nvrtc' cannot compute kernel_matrix: it does not compute on numpy on cpu"
    with im.config(backend="nvrtc"), pytest.raises(RuntimeError, match=message):
        im.kernel_matrix(np.eye(2), kernel=KERNEL)


def test_info_names_the_gpu_backends(clear_launchers):
    clear_launchers.setitem(sys.modules, "isthmus._cuda", built())
    info = backends.info()
    assert (info["gpu native"], info["gpu build cuda"]) == ("used", "13.0")
    clear_launchers.setitem(sys.modules, "isthmus._cuda", None)
    for cached in (cuda_module.launcher, cuda_module._load):
        cached.cache_clear()
    info = backends.info()
    assert info["gpu native"].startswith("not used: ") and "gpu build cuda" not in info
    assert info["gpu nvrtc"] == "used" or info["gpu nvrtc"].startswith("not used: ")


def test_operations_run_with_the_gpu_of_their_first_cupy_array(monkeypatch):
    cupy = PlayedCupy()
    cupy.ndarray = type("ndarray", (), {"device": SimpleNamespace(id=3)})
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    seen = arrays.on_its_device(lambda *given, **named: list(cupy.events))
    assert seen([1.0], 2, named=[np.eye(2), cupy.ndarray()]) == ["device 3"]
    assert cupy.events.pop() == "end of device 3"
    cupy.events.clear()
    assert seen(np.eye(2)) == cupy.events == []


def test_frequencies_are_copied_once_and_can_then_be_read_on_every_stream(monkeypatch):
    cupy = PlayedCupy()
    done = SimpleNamespace(synchronize=lambda: cupy.events.append("waited"))
    cupy.cuda.get_current_stream = lambda: done
    cupy.asarray = lambda values, dtype: cupy.events.append("copied") or values
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    drawn, where = Frequencies(np.eye(2), np.zeros(2)), homes.Home("cupy", "cuda:1")
    first, again = (gpu._placed(native, drawn, where) for _ in range(2))
    assert first is again
    assert [event for event in cupy.events if "device" not in event] == ["copied", "copied", "waited"]


def test_estimators_refuse_rows_of_a_gpu_that_is_not_current(monkeypatch):
    current = SimpleNamespace(id=0)
    array = type(
        "ndarray", (), {"device": SimpleNamespace(id=3), "ndim": 1, "shape": (4,), "dtype": np.dtype("f4")}
    )
    array.astype = lambda self, dtype, copy: self
    played = SimpleNamespace(ndarray=array, cuda=SimpleNamespace(Device=lambda: current))
    monkeypatch.setitem(sys.modules, "cupy", played)
    for estimator, call in ((im.CORAL(), "CORAL"), (im.LinearSourceRegressor(), "LinearSourceRegressor")):
        message = rf"on CuPy's current device, got cupy on cuda:3: call {call} inside `with .*Device\(3\):`"
        with pytest.raises(ValueError, match=message):
            estimator.fit(array(), [0.0])
    current.id = 3
    with pytest.raises(ValueError, match=r"X must have shape \(n, d\)"):
        im.CORAL().fit(array())


@pytest.mark.parametrize("protocol", ["__cuda_array_interface__", "__dlpack_device__"])
def test_arrays_of_other_libraries_on_a_gpu_are_not_copied_to_the_host(protocol):
    value = {"shape": (2, 2)} if protocol == "__cuda_array_interface__" else lambda self: (2, 0)
    refuse = lambda self, *_, **__: pytest.fail("copied")  # noqa: E731
    other = type("Other", (), {protocol: value, "__array__": refuse})()
    message = r"X must be of numpy, CuPy or torch, got a \S+Other on a device: pass cupy.asarray\(X\)"
    with pytest.raises(TypeError, match=message):
        im.kernel_matrix(other, kernel=KERNEL)


def test_arrays_of_other_libraries_on_the_host_are_read():
    held = np.eye(2)
    other = type(
        "Other", (), {"__dlpack_device__": lambda self: (1, 0), "__array__": lambda self, *_, **__: held}
    )()
    assert np.array_equal(im.kernel_matrix(other, kernel=KERNEL), im.kernel_matrix(held, kernel=KERNEL))


def test_mixed_devices_are_refused_naming_both(torch_as_device):
    x = torch_as_device.eye(3)
    for given, name in (({"Y": np.eye(3)}, "Y"), ({"Y": x, "x_weights": np.ones(3)}, "x_weights")):
        message = f"{name} must live where .* lives, torch on cpu, got numpy on cpu"
        with pytest.raises(ValueError, match=message):
            im.mmd2(x, **given, kernel=KERNEL)


@pytest.mark.parametrize("cupy_sees", ["nothing", "no driver", "two"])
def test_the_report_of_gpus_asks_the_next_library_where_one_sees_none(monkeypatch, cupy_sees):
    def count():
        if cupy_sees == "no driver":
            raise RuntimeError("cudaErrorInsufficientDriver: update it\nsecond line")
        return 2 if cupy_sees == "two" else 0

    runtime = SimpleNamespace(getDeviceCount=count, getDeviceProperties=lambda i: {"name": b"Chip %d" % i})
    seen = ["Other"]
    cuda = SimpleNamespace(device_count=lambda: len(seen), get_device_name=lambda i: seen[i])
    modules = {
        "cupy": SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)),
        "torch": SimpleNamespace(cuda=cuda),
    }
    monkeypatch.setattr(homes, "find_spec", lambda name: name)
    monkeypatch.setattr(homes, "import_module", modules.__getitem__)
    if cupy_sees == "two":
        assert homes.gpu_report() == "Chip 0, Chip 1 (seen by cupy)"
        return
    assert homes.gpu_report() == "Other (seen by torch)"
    seen.clear()
    first = "sees no CUDA device" if cupy_sees == "nothing" else "says cudaErrorInsufficientDriver: update it"
    assert homes.gpu_report() == f"none: cupy {first}; torch sees no CUDA device"
