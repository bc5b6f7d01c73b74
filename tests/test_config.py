"""Settings of a context, threads and memory of the process, SIMD levels, what explains a result."""

import asyncio
import contextvars
import os
import re
import subprocess
import sys
import threading

import isthmus as im
import numpy as np
import pytest
from isthmus import backends, machine
from isthmus.config import Settings, default_threads, settings, threads

X = np.arange(6.0).reshape(3, 2)


def run_python(code, **environment):
    """What a fresh interpreter prints; PYTHONPATH and the rest of the environment are handed on."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_settings_hold_inside_the_block_and_nest():
    assert settings() == Settings()
    with im.config(n_threads=3, assume_finite=True) as outer:
        assert outer == settings() == Settings(n_threads=3, assume_finite=True)
        with im.config(backend="reference"):
            assert settings() == Settings(n_threads=3, backend="reference", assume_finite=True)
        assert settings() == outer
    assert settings() == Settings()


def test_settings_are_restored_after_an_error():
    with pytest.raises(KeyError), im.config(n_threads=2):
        raise KeyError
    assert settings() == Settings()


def test_one_config_object_can_be_entered_again():
    twice = im.config(n_threads=2)
    with twice, twice:
        assert settings().n_threads == 2
    with twice:
        assert settings().n_threads == 2
    assert settings() == Settings()
    assert repr(twice) == "config(n_threads=2)"


def test_settings_belong_to_their_thread_and_task():
    seen = []
    with im.config(n_threads=2):
        thread = threading.Thread(target=lambda: seen.append(settings().n_threads))
        thread.start()
        thread.join()
    assert seen == [None]

    async def task(n_threads):
        with im.config(n_threads=n_threads):
            await asyncio.sleep(0)
            return settings().n_threads

    async def both():
        return await asyncio.gather(task(2), task(3))

    assert asyncio.run(both()) == [2, 3]


@pytest.mark.parametrize("make", [lambda: im.config(n_threads=2), lambda: backends.simd("base")])
def test_threads_may_share_one_object_and_leave_it_in_any_order(make):
    if not backends.simd_levels():
        pytest.skip("the compiled module is not built")
    shared, inside, left, errors = make(), threading.Barrier(2), threading.Event(), []

    def first():
        with shared:
            inside.wait(10)
        left.set()

    def second():
        with shared:
            inside.wait(10)
            left.wait(10)

    def run(body):
        before = settings(), backends.simd_level()
        try:
            body()
            assert (settings(), backends.simd_level()) == before
        except Exception as error:
            errors.append(error)

    both = [threading.Thread(target=run, args=[body]) for body in (first, second)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert errors == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_threads": 0}, ValueError, "n_threads must be a positive integer, got 0"),
        ({"n_threads": -1}, ValueError, "n_threads must be a positive integer, got -1"),
        ({"n_threads": "a"}, TypeError, "n_threads must be a positive integer, got 'a'"),
        ({"n_threads": 2.0}, TypeError, "n_threads must be a positive integer, got 2.0"),
        ({"n_threads": True}, TypeError, "n_threads must be a positive integer, got True"),
        ({"precision": "half"}, ValueError, "precision must be one of 'default', 'fast', got 'half'"),
        ({"backend": "gpu"}, ValueError, "one of 'auto', 'native', 'nvrtc', 'reference', got 'gpu'"),
        ({"assume_finite": 1}, TypeError, "assume_finite must be True or False, got 1"),
        ({"threads": 1}, TypeError, "unexpected keyword argument 'threads'"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        im.config(**options)


def test_a_million_threads_are_clamped_with_a_warning():
    with pytest.warns(RuntimeWarning, match=r"n_threads=1000000 is clamped to \d+"):
        changed = im.config(n_threads=1_000_000)
    with changed:
        assert 64 <= threads() <= 4096
        assert im.kernel_matrix(X, kernel=im.RBF(1.0)).shape == (3, 3)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 16),
        ({"ISTHMUS_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"ISTHMUS_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"ISTHMUS_NUM_THREADS": "1000000"}, 16),
        ({"ISTHMUS_NUM_THREADS": " ", "OMP_NUM_THREADS": "2"}, 2),
    ],
)
def test_default_threads_are_the_least_of_cpus_and_environment(environment, expected, clean_environment):
    # `isthmus.config` is the context manager; its module is found by name.
    clean_environment.setattr(sys.modules["isthmus.config"], "cpu_count", lambda: 16)
    for name, value in environment.items():
        clean_environment.setenv(name, value)
    assert default_threads() == threads() == expected
    with im.config(n_threads=7):
        assert threads() == 7


@pytest.mark.parametrize("name", ["ISTHMUS_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["many", "0", "-2", "1.5"])
def test_garbage_in_the_environment_is_named(name, value, clean_environment):
    clean_environment.setenv(name, value)
    with pytest.raises(
        ValueError, match=f"variable {name} must be a positive integer, got '{re.escape(value)}'"
    ):
        threads()


def test_the_affinity_of_the_process_bounds_its_threads():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no process affinity")
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from isthmus.config import threads; print(threads())"
    )
    assert run_python(code, ISTHMUS_NUM_THREADS="", OMP_NUM_THREADS="").strip() == "1"


# -- the operating system --


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


VERSION_2 = {
    "proc/self/cgroup": "0::/user/job",
    "sys/fs/cgroup/user/job/cpu.max": "250000 100000",
    "sys/fs/cgroup/user/cpu.max": "max 100000",
    "sys/fs/cgroup/user/job/memory.max": "max",
    "sys/fs/cgroup/user/job/memory.current": "1000",
    "sys/fs/cgroup/user/memory.max": "9000",
    "sys/fs/cgroup/user/memory.current": "2500",
    "sys/fs/cgroup/user/memory.stat": "anon 1500\ninactive_file 500",
}
VERSION_1 = {
    "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/init",
    "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
    "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4000",
    "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "3000",
}
CONTAINER = {
    "proc/self/cgroup": "0::/host/path/that/is/not/mounted",
    "sys/fs/cgroup/cpu.max": "100000 100000",
    "sys/fs/cgroup/memory.max": "5000",
    "sys/fs/cgroup/memory.current": "1000",
}


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        (VERSION_2, 2.5, 7000),
        (VERSION_1, 0.5, 1000),
        (CONTAINER, 1.0, 4000),
        ({"proc/self/cgroup": "0::/"}, None, None),
        ({}, None, None),
        ({**VERSION_2, "proc/meminfo": "MemTotal: 99 kB\nMemAvailable:       5 kB"}, 2.5, 5120),
    ],
)
def test_limits_of_the_control_group_are_found(files, quota, memory, tmp_path):
    root = tree(tmp_path, files)
    assert machine.cpu_quota(root) == quota
    assert machine.available_memory(root) == memory
    assert machine.cpu_count(root) >= 1
    if quota is not None:
        assert machine.cpu_count(root) <= np.ceil(quota)


def test_the_processor_has_a_name(tmp_path):
    assert machine.cpu_model(tree(tmp_path, {"proc/cpuinfo": "processor: 0\nmodel name\t: A CPU"})) == "A CPU"
    assert machine.cpu_model()


# -- backends --


def test_explain_tells_what_computed_the_last_operation():
    with im.config(n_threads=2):
        im.mmd2(X, X + 1, kernel=im.RBF(1.0))
    told = backends.explain()
    assert (told.operation, told.device, told.dtype) == ("mmd2", "cpu", "float64")
    if told.backend == "native":
        assert (told.level, told.n_threads, told.notes) == (backends.simd_level(), 2, ())
        assert str(told) == f"mmd2: native on cpu, float64, SIMD level {told.level}, 2 threads"
    else:
        assert "native: not used, the compiled module could not be loaded" in str(told)


def test_explain_belongs_to_its_context():
    im.kernel_matrix(X, kernel=im.RBF(1.0))
    here, there = backends.explain(), []

    def other():
        there.append(backends.explain())
        im.project(X, X.T)
        there.append(backends.explain().operation)

    thread = threading.Thread(target=contextvars.Context().run, args=[other])
    thread.start()
    thread.join()
    assert there == [None, "project"]
    assert backends.explain() is here


def test_fast_precision_says_where_it_changes_nothing():
    with im.config(backend="reference"):
        expected = im.kernel_matrix(X, kernel=im.RBF(1.0))
    with im.config(backend="reference", precision="fast"):
        assert np.array_equal(im.kernel_matrix(X, kernel=im.RBF(1.0)), expected)
    assert "precision='fast': " in str(backends.explain())


def test_each_level_is_forced_in_process_and_by_the_environment(level, clean_environment):
    assert backends.simd_level() == level
    im.kernel_matrix(X, kernel=im.RBF(1.0))
    assert backends.explain().level == level
    code = "from isthmus import backends; print(backends.simd_level())"
    assert run_python(code, ISTHMUS_SIMD=level).strip() == level


def test_simd_nests_and_ends():
    if not backends.simd_levels():
        pytest.skip("the compiled module is not built")
    before = backends.simd_level()
    with backends.simd("base") as level:
        assert level == backends.simd_level() == "base"
        with backends.simd(backends.simd_levels()[-1]):
            assert backends.simd_level() == backends.simd_levels()[-1]
        assert backends.simd_level() == "base"
    assert backends.simd_level() == before


def test_a_level_the_machine_lacks_is_refused_with_those_it_has(clean_environment):
    lacking = next(name for name in backends.LEVELS if name not in backends.simd_levels())
    has = f"it has {', '.join(backends.simd_levels())}" if backends.simd_levels() else "it has none"
    with pytest.raises(RuntimeError, match=f"lack the SIMD level '{lacking}'; {has}"):
        backends.simd(lacking)
    clean_environment.setenv("ISTHMUS_SIMD", lacking)
    with pytest.raises(
        RuntimeError, match=f"ISTHMUS_SIMD: this machine and build lack the SIMD level '{lacking}'"
    ):
        backends.simd_level()


@pytest.mark.parametrize("level", ["sse", "AVX2", ""])
def test_an_unknown_level_is_refused_with_the_known_ones(level):
    with pytest.raises(ValueError, match=f"simd must be one of base, avx2, avx512, amx, neon, got '{level}'"):
        backends.simd(level)


def test_a_missing_compiled_module_is_explained_and_can_be_insisted_on():
    code = """
import sys
sys.modules["isthmus._native"] = None
import isthmus as im
im.kernel_matrix([[0.0], [1.0]], kernel=im.RBF(1.0))
print(im.backends.explain())
print(im.backends.info()["simd"])
try:
    with im.config(backend="native"):
        im.kernel_matrix([[0.0], [1.0]], kernel=im.RBF(1.0))
except RuntimeError as error:
    print(error)
"""
    told = run_python(code).splitlines()
    assert told[0] == "kernel_matrix: reference on cpu, float64"
    assert "native: not used, the compiled module could not be loaded" in told[1]
    assert told[2].startswith("none: the compiled module could not be loaded")
    assert told[3].startswith("backend 'native' cannot compute kernel_matrix: native: not used, the compiled")


def test_info_names_versions_processor_threads_and_gpu():
    info = backends.info()
    assert {"isthmus", "python", "numpy", "cpu", "simd", "threads", "memory available", "gpu"} <= info.keys()
    assert all(
        isinstance(text, str) and text for text in info.values() if text is not info.get("build flags")
    )
    assert info["threads"] == str(threads())
