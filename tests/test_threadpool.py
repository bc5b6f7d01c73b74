"""Our pool in threadpoolctl's list, and the order of who decides the number of threads."""

import ctypes
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import isthmus as im
import numpy as np
import pytest
import threadpoolctl
from isthmus import backends, machine

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")


@pytest.fixture
def four_cpus(clean_environment):
    """A process that may use four CPUs, and operations that say how many threads they were given."""
    im.kernel_matrix(np.eye(2), kernel=im.RBF(1.0))  # the compiled module is loaded
    clean_environment.setattr(sys.modules["isthmus.config"], "cpu_count", lambda: 4)
    return clean_environment


def threads_of_an_operation():
    im.kernel_matrix(np.eye(2), kernel=im.RBF(1.0))
    return backends.explain().n_threads


def ours():
    (found,) = [each for each in threadpoolctl.threadpool_info() if each["internal_api"] == "isthmus"]
    return found


def test_threadpool_info_lists_our_pool_once(four_cpus):
    found = ours()
    assert found["num_threads"] == 4
    assert found["user_api"] == "isthmus"
    assert found["version"] == im.__version__
    assert Path(found["filepath"]).samefile(native.__file__)


def test_threadpool_limits_holds_inside_its_block_and_nests(four_cpus):
    assert threads_of_an_operation() == 4
    with threadpoolctl.threadpool_limits(limits=2):
        assert (threads_of_an_operation(), ours()["num_threads"]) == (2, 2)
        with threadpoolctl.threadpool_limits(limits={"isthmus": 1}):
            assert (threads_of_an_operation(), ours()["num_threads"]) == (1, 1)
        assert threads_of_an_operation() == 2
    assert (threads_of_an_operation(), ours()["num_threads"]) == (4, 4)


def test_assignments_and_their_sums_heed_threadpool_limits(four_cpus):
    asked = []

    class Recorded:
        def __getattr__(self, name):
            def call(*given, **how):
                asked.append((name, how["n_threads"]))
                return getattr(native, name)(*given, **how)

            return call if name in ("random_assignments", "subset_sums") else getattr(native, name)

    four_cpus.setattr(backends, "_load_native", lambda: (Recorded(), ""))
    with threadpoolctl.threadpool_limits(limits=2):
        im.permuted_mmd2(np.eye(3), -np.eye(3), kernel=im.RBF(1.0), n_permutations=3)
    assert asked == [("random_assignments", 2), ("subset_sums", 2)]


def test_config_goes_before_threadpoolctl_and_that_before_the_environment(four_cpus):
    four_cpus.setenv("ISTHMUS_NUM_THREADS", "1")
    assert threads_of_an_operation() == 1
    with threadpoolctl.threadpool_limits(limits=3):
        assert threads_of_an_operation() == 3
        with im.config(n_threads=2):
            assert threads_of_an_operation() == 2
    assert threads_of_an_operation() == 1


def test_a_limit_beyond_the_machine_gives_its_cpus(four_cpus):
    with threadpoolctl.threadpool_limits(limits=500):
        assert threads_of_an_operation() == 4


def test_limits_of_other_libraries_leave_no_limit_behind(four_cpus):
    """threadpoolctl sets every library again on the way out, named or not."""
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        assert threads_of_an_operation() == 4
    assert native.thread_limit() == 0
    four_cpus.setenv("ISTHMUS_NUM_THREADS", "2")
    assert threads_of_an_operation() == 2


def test_a_limit_belongs_to_the_thread_that_sets_it(four_cpus):
    found = []

    def other():
        found.append(threads_of_an_operation())
        with threadpoolctl.threadpool_limits(limits=3):
            found.append(threads_of_an_operation())

    with threadpoolctl.threadpool_limits(limits=1):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert threads_of_an_operation() == 1
    assert found == [4, 3]


def test_a_broken_variable_does_not_break_threadpool_info(four_cpus):
    four_cpus.setenv("OMP_NUM_THREADS", "many")
    assert ours()["num_threads"] == machine.cpu_count()
    with pytest.raises(ValueError, match="variable OMP_NUM_THREADS must be a positive integer"):
        threads_of_an_operation()


def test_the_limit_decides_how_many_threads_the_system_sees():
    code = """
import os, sys
import numpy as np
import isthmus as im
sys.modules["isthmus.config"].cpu_count = lambda: 3

def helpers():
    names = (open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task"))
    return list(names).count("isthmus")

def value():
    return im.mmd2(X, X + 1, kernel=im.RBF(5.0))

X = np.random.default_rng(0).standard_normal((1200, 16))
small = im.mmd2(X[:20], X[:20] + 1, kernel=im.RBF(5.0))
assert helpers() == 0, "small work opens no thread"
from threadpoolctl import threadpool_limits
with threadpool_limits(limits=1):
    alone = value()
    assert helpers() == 0, helpers()
with threadpool_limits(limits=2):
    assert value() == alone and helpers() == 1, helpers()
assert value() == alone and helpers() == 2, helpers()
"""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not list the threads of a process")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_isthmus_registers_nothing():
    code = """
import threadpoolctl
before = list(threadpoolctl._ALL_INTERNAL_APIS)
import isthmus
from isthmus import backends, ops
assert threadpoolctl._ALL_INTERNAL_APIS == before
isthmus.kernel_matrix([[0.0], [1.0]], kernel=isthmus.RBF(1.0))
isthmus.kernel_matrix([[0.0], [1.0]], kernel=isthmus.RBF(1.0))
assert threadpoolctl._ALL_INTERNAL_APIS == [*before, "isthmus"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_compiled_module_exports_its_two_functions_and_no_more_of_ours():
    library = ctypes.CDLL(native.__file__)
    library.isthmus_set_thread_limit(-3)
    assert library.isthmus_get_thread_limit() == native.thread_limit() == 0
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    command = [nm, "-D", "--defined-only", native.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    exported = {line.split()[-1] for line in lines if "isthmus" in line}
    assert exported == {"isthmus_get_thread_limit", "isthmus_set_thread_limit"}
