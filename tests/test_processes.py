"""A good citizen of its process: forks, signals, threads, refused resources, the float environment."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import isthmus as im
import numpy as np
import pytest

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")

RBF = [("rbf", 1.0, (0.05,))]

# What the scripts below start with. `everything` runs each compiled operation on several threads.
START = """
import os, signal, sys, threading, time
import numpy as np
import isthmus as im

X = np.random.default_rng(0).standard_normal((1200, 20)).astype(np.float32)
kernel = im.RBF(4.0)

def everything():
    with im.config(n_threads=3, backend="native"):
        found = [im.mmd2(X, X + 1, kernel=kernel), im.kernel_matrix(X, kernel=kernel)]
        found += [im.kernel_matmul(X, X, X, kernel=kernel), im.project(X, np.tile(X.T, 2), activation="tanh")]
    return b"".join(np.asarray(each).tobytes() for each in found)
"""


def run_script(script, seconds=60):
    """What the script prints. One that hangs is a failure."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + script],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no threads but ours
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# -- forks --


def test_a_child_forked_before_any_use_computes_what_its_parent_does():
    script = """
child = os.fork()
value = everything()
if child == 0:
    os._exit(0 if value == everything() else 1)
status = os.waitpid(child, 0)[1]
print(status)
"""
    assert run_script(script) == ["0"]


def test_children_and_grandchildren_forked_after_use_compute_what_their_parent_does():
    script = """
value = everything()
child = os.fork()
if child == 0:
    right = everything() == value
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if everything() == value else 1)
    os._exit(0 if right and os.waitpid(grandchild, 0)[1] == 0 else 1)
print(os.waitpid(child, 0)[1], everything() == value)
"""
    assert run_script(script) == ["0", "True"]


def test_children_forked_while_another_thread_computes_compute_too():
    script = """
value = everything()
stop, wrong = threading.Event(), []

def loop():
    while not stop.is_set():
        if everything() != value:
            wrong.append(1)

thread = threading.Thread(target=loop)
thread.start()
statuses = []
for _ in range(12):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        os._exit(0 if everything() == value else 1)
    statuses.append(os.waitpid(child, 0)[1])
stop.set()
thread.join()
print(sum(statuses), len(wrong), everything() == value)
"""
    assert run_script(script) == ["0", "0", "True"]


def test_workers_of_multiprocessing_compute_what_their_parent_does():
    script = """
import multiprocessing
if __name__ == "__main__":
    value = everything()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap_async(everything, [()] * 6).get(50)
    print(all(each == value for each in found))
"""
    assert run_script(script) == ["True"]


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_workers_of_a_torch_data_loader_compute_what_their_parent_does():
    script = """
import torch

class Shifts(torch.utils.data.Dataset):
    rows = torch.from_numpy(X)

    def __len__(self):
        return 8

    def __getitem__(self, i):
        with im.config(n_threads=2):
            return im.mmd2(self.rows, self.rows + i, kernel=kernel)

data = Shifts()
value = torch.stack([data[i] for i in range(8)])
how = {"batch_size": 2, "num_workers": 2, "multiprocessing_context": "fork", "timeout": 50}
loader = torch.utils.data.DataLoader(data, **how)
for _ in range(2):
    print(torch.equal(torch.cat(list(loader)), value))
"""
    assert run_script(script, seconds=120) == ["True", "True"]


# -- signals --

LONG_CALLS = {
    "block_sums, one large block": """
X = np.random.default_rng(0).standard_normal((1, 400_000, 30), np.float32)
def long_call():
    pairs = np.zeros((1, 2), np.int64)
    native.block_sums([X], None, pairs, RBF, np.empty(1), np.empty(1), level=LEVEL, n_threads=2)
""",
    "block_sums, many small jobs": """
X = np.random.default_rng(0).standard_normal((2000, 300, 64), np.float32)
pairs = np.repeat(np.arange(2000), 2).reshape(-1, 2)
def long_call():
    native.block_sums([X], None, pairs, RBF, np.empty(2000), np.empty(2000), level=LEVEL, n_threads=2)
""",
    "block_sums, a million pairs of tiny blocks": """
X = np.random.default_rng(0).standard_normal((1500, 8, 3), np.float32)
pairs = np.stack(np.triu_indices(1500), axis=1).astype(np.int64)
sums = np.empty(len(pairs))
def long_call():
    native.block_sums([X], None, pairs, RBF, sums, np.empty(1500), level=LEVEL, n_threads=2)
""",
    "block_sums, rows as wide as they come": """
X = np.random.default_rng(0).standard_normal((1, 400, 200_000), np.float32)
def long_call():
    pairs = np.zeros((1, 2), np.int64)
    native.block_sums([X], None, pairs, RBF, np.empty(1), np.empty(1), level=LEVEL, n_threads=2)
""",
    "block_sums, a long diagonal": """
X = np.broadcast_to(np.ones((1, 1, 64), np.float32), (1, 300_000, 64))
def long_call():
    pairs, linear = np.zeros((1, 2), np.int64), [("linear", 1.0, ())]
    native.block_sums([X], None, pairs, linear, np.empty(1), np.empty(1), level=LEVEL, n_threads=2)
""",
    "kernel_matmul, few rows against many": """
X = np.random.default_rng(0).standard_normal((2_000_000, 32), np.float32)
V = np.ones((2_000_000, 1), np.float32)
def long_call():
    out = np.empty((200, 1), np.float32)
    native.kernel_matmul(X[:200], X, V, RBF, False, out, level=LEVEL, n_threads=2)
""",
    "kernel_matmul, many columns": """
X = np.random.default_rng(0).standard_normal((3000, 64), np.float32)
V, out = np.ones((3000, 20_000), np.float32), np.empty((3000, 20_000), np.float32)
def long_call():
    native.kernel_matmul(X, X, V, RBF, False, out, level=LEVEL, n_threads=2)
""",
    "kernel_matrix": """
X = np.random.default_rng(0).standard_normal((10_000, 64), np.float32)
out = np.empty((10_000, 10_000), np.float32)
def long_call():
    native.kernel_matrix(X, None, [*RBF, ("laplacian", 1.0, (4.0,))], out, level=LEVEL, n_threads=2)
""",
    "project": """
X, W = np.ones((1000, 8000), np.float32), np.ones((8000, 8000), np.float32)
out = np.empty((1000, 8000), np.float32)
def long_call():
    native.project(X, W, None, "cos", out, level=LEVEL, n_threads=2)
""",
    "moments": """
X, out = np.ones((30_000, 2000), np.float32), np.empty((2000, 2000))
def long_call():
    native.moments(X, None, X[0], np.empty(2000), out, level=LEVEL, n_threads=2)
""",
} | {
    f"mmd2_grad, {kernel}": f"""
X = np.random.default_rng(0).standard_normal((1, 15_000, 64), np.float32)
def long_call():
    dx, dy, kernel, f = np.empty_like(X), np.empty_like(X), [("{kernel}", 1.0, (9.0,))], np.ones((1, 3))
    native.mmd2_grad(X, X, None, None, f, False, kernel, np.empty(1), dx, dy, level=LEVEL, n_threads=2)
"""
    for kernel in ("rbf", "laplacian")
}


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals")
@pytest.mark.parametrize("script", LONG_CALLS.values(), ids=LONG_CALLS.keys())
def test_ctrl_c_stops_a_long_call_and_leaves_the_module_usable(script):
    script = f"""
import time, numpy as np
from isthmus import _native as native
RBF, LEVEL = [("rbf", 1.0, (0.1,))], "base"
{script}
print("ready", flush=True)
try:
    while True:
        long_call()
except KeyboardInterrupt:
    print(time.time())
out = np.empty((5, 5), np.float32)
native.kernel_matrix(np.eye(5, dtype=np.float32), None, RBF, out, level="base", n_threads=2)
print(out[0, 0])
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "ready"
    time.sleep(0.5)
    sent = time.time()
    os.kill(process.pid, signal.SIGINT)
    heard, value = process.communicate(timeout=60)[0].split()
    # 0.2 s is the promise; a loaded machine gets the rest.
    assert float(heard) - sent < 1.0 and value == "1.0"


def test_ctrl_c_reaches_the_main_thread_while_another_one_computes():
    script = """
stop = threading.Event()

def loop():
    while not stop.is_set():
        everything()

thread = threading.Thread(target=loop)
thread.start()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    time.sleep(50)
except KeyboardInterrupt:
    print("heard")
stop.set()
thread.join()
print(len(everything()) > 0)
"""
    assert run_script(script) == ["heard", "True"]


def test_signals_are_heard_all_along_the_matrix_of_a_few_very_wide_rows():
    """One task for all of it would be deaf for seconds."""
    script = """
from itertools import pairwise
from isthmus import _native as native
heard = []
Z = np.random.default_rng(1).standard_normal((250, 200_000), np.float32)
out = np.empty((250, 250), np.float32)
signal.signal(signal.SIGALRM, lambda number, frame: heard.append(time.monotonic()))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
native.kernel_matrix(Z, None, [("rbf", 1.0, (0.1,))], out, level="base", n_threads=2)
signal.setitimer(signal.ITIMER_REAL, 0)
print(max(after - before for before, after in pairwise(heard)))
"""
    # 0.2 s is the promise; a loaded machine gets the rest.
    assert float(run_script(script)[0]) < 1.0


def test_a_signal_handler_may_call_operations_while_one_is_interrupted():
    script = """
value, inside = everything(), []

def handler(number, frame):
    inside.append(everything() == value)
    signal.setitimer(signal.ITIMER_REAL, 0.05)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
Z = np.random.default_rng(1).standard_normal((6000, 60)).astype(np.float32)
with im.config(n_threads=3):
    first = im.mmd2(Z, Z + 1, kernel=kernel)
    while len(inside) < 3:
        assert im.mmd2(Z, Z + 1, kernel=kernel) == first
signal.setitimer(signal.ITIMER_REAL, 0)
print(all(inside))
"""
    assert run_script(script) == ["True"]


def test_an_exception_of_a_signal_handler_ends_the_call():
    script = """
class Enough(Exception):
    pass

def handler(number, frame):
    raise Enough

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    while True:
        everything()
except Enough:
    print("ended")
everything()
"""
    assert run_script(script) == ["ended"]


def test_a_blocked_signal_waits_for_the_program_and_not_for_our_threads():
    """A thread of the pool that took the signal would end the process."""
    script = """
everything()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.1)
print(signal.sigtimedwait({signal.SIGUSR1}, 5).si_signo == signal.SIGUSR1)
"""
    assert run_script(script) == ["True"]


def test_a_daemon_thread_in_a_long_call_does_not_break_the_exit():
    script = """
Z = np.zeros((60_000, 64), np.float32)
threading.Thread(target=lambda: im.mmd2(Z, Z + 1, kernel=kernel), daemon=True).start()
time.sleep(0.3)
print("leaving")
"""
    assert run_script(script) == ["leaving"]


# -- threads --


def test_threads_of_python_may_call_all_operations_at_once():
    rng = np.random.default_rng(6)
    X, Y = (rng.standard_normal((n, 10)).astype(np.float32) for n in (900, 700))
    calls = [
        lambda: im.mmd2(X, Y, kernel=im.RBF(3.0)),
        lambda: im.kernel_matrix(X, Y, kernel=im.Laplacian(3.0)),
        lambda: im.kernel_matmul(X, Y, Y, kernel=im.RBF(3.0)),
        lambda: im.project(X, np.tile(Y.T, 2), activation="cos"),
    ]
    expected = [np.asarray(call()).tobytes() for call in calls]

    def run(i):
        with im.config(n_threads=1 + i % 4):
            return np.asarray(calls[i % len(calls)]()).tobytes()

    with ThreadPoolExecutor(8) as pool:
        for i, found in enumerate(pool.map(run, range(120))):
            assert found == expected[i % len(calls)]


def test_other_threads_run_while_an_operation_computes():
    X = np.random.default_rng(0).standard_normal((1, 20_000, 30)).astype(np.float32)
    started, ended, steps = threading.Event(), threading.Event(), []

    def compute():
        started.set()
        pairs, sums = np.zeros((1, 2), np.int64), np.empty(1)
        native.block_sums([X], None, pairs, RBF, sums, np.empty(1), level="base", n_threads=1)
        ended.set()

    thread = threading.Thread(target=compute)
    thread.start()
    started.wait()
    while not ended.is_set():
        steps.append(1)
        time.sleep(0.001)
    thread.join()
    assert len(steps) > 10


# -- what the system refuses --


def test_fewer_threads_than_wanted_give_the_same_bits():
    pytest.importorskip("resource")
    script = """
import resource
with im.config(n_threads=1, backend="native"):
    value = im.mmd2(X, X + 1, kernel=kernel)
pages = int(open("/proc/self/statm").read().split()[0])
used = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 20), resource.RLIM_INFINITY))  # no room for a stack
with im.config(n_threads=64):
    print(im.mmd2(X, X + 1, kernel=kernel) == value)
names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(names.count("isthmus"))
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not list the threads of a process")
    same, helpers = run_script(script)
    assert same == "True" and int(helpers) < 63


@pytest.mark.parametrize(
    "call",
    [
        "im.kernel_matmul(Z, Z, Z[:, :1], kernel=kernel)",
        "im.block_sums(Z, [0, len(Z)], kernel=kernel)",
        "im.mmd2(Z, Z[:1000], kernel=kernel)",
        "im.kernel_matrix(Z, Z[:2], kernel=kernel)",
    ],
)
def test_a_refused_workspace_is_a_memory_error_with_its_size_and_nothing_is_lost(call):
    pytest.importorskip("resource")
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not say how large a process is")
    script = f"""
import resource
Z = np.broadcast_to(np.ones((1, 200), np.float32), (2_000_000, 200))
value = everything()
def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used() + (1 << 29), resource.RLIM_INFINITY))
for attempt in range(4):
    try:
        with im.config(n_threads=2, assume_finite=True):
            {call}
    except MemoryError as error:
        if attempt == 0:
            print(str(error).replace(" ", "_"))
            before = used()
print(used() - before < (1 << 26), everything() == value)
"""
    refusal = "the_workspace_needs_1.5_GiB,_more_than_the_system_grants"
    assert run_script(script) == [refusal, "True", "True"]


# -- the float environment --


def control_word():
    """The bits of MXCSR that set how the calling thread rounds, traps and treats denormals."""
    environment = (ctypes.c_uint32 * 16)()
    assert ctypes.CDLL(None).fegetenv(environment) == 0
    return environment[7] & 0xFFC0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="MXCSR is a register of x86-64")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_operations_leave_the_callers_float_environment_alone(n_threads, level):
    X = np.random.default_rng(5).standard_normal((600, 8)).astype(np.float32)
    V, W = np.ones((600, 3), np.float32), np.ones((8, 40), np.float32)
    before = control_word()
    how = {"level": level, "n_threads": n_threads}
    pairs = np.zeros((1, 2), np.int64)
    native.block_sums([X[None]], None, pairs, RBF, np.empty(1), np.empty(1), **how)
    native.kernel_matrix(X, None, RBF, np.empty((600, 600), np.float32), **how)
    native.kernel_matmul(X, None, V, RBF, False, np.empty((600, 3), np.float32), **how)
    native.project(X, W, None, "tanh", np.empty((600, 40), np.float32), **how)
    native.moments(X, None, X[0], np.empty(8), np.empty((8, 8)), **how)
    with pytest.raises(ValueError, match="out has the wrong shape"):
        native.kernel_matrix(X, None, RBF, np.empty((600, 60), np.float32), **how)
    assert control_word() == before
    assert (np.array([1e-310]) / np.array([2.0]))[0] == 5e-311


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="MXCSR is a register of x86-64")
@pytest.mark.skipif(find_spec("torch") is None, reason="torch sets the flag")
def test_a_caller_that_flushes_denormals_goes_on_doing_so(level):
    import torch

    X = np.random.default_rng(5).standard_normal((600, 8)).astype(np.float32)
    assert torch.set_flush_denormal(True)
    try:
        before = control_word()
        im.mmd2(X, X + 1, kernel=im.RBF(3.0))
        assert control_word() == before and before & 0x8040 == 0x8040
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="MXCSR is a register of x86-64")
def test_an_interrupted_call_leaves_the_float_environment_alone():
    script = """
def handler(number, frame):
    tiny = np.array([1e-310]) / np.array([2.0])
    raise KeyboardInterrupt(f"{tiny[0]:g}")

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    while True:
        everything()
except KeyboardInterrupt as stop:
    print(stop)
print((np.array([1e-310]) / np.array([2.0]))[0])
"""
    assert run_script(script) == ["5e-311", "5e-311"]
