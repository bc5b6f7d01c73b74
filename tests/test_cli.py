"""The command line, run for real: what it prints, what it writes, what it refuses and how."""

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import isthmus
import numpy as np
import pytest
from isthmus import cli, folders, transfer
from isthmus.alignments import ALIGNMENTS
from isthmus.demo import digits

GOOD_ROWS = [b"%d,%d,%s" % (i, i % 3, (b"x", b"y")[i % 2]) for i in range(12)]
GOOD = b"\n".join([b"a,b,target", *GOOD_ROWS, b""])
FILES = ["metrics.json", "model.safetensors", "predictions.csv", "report.html"]


def command(*arguments, **options):
    """`python -m isthmus` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "isthmus", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        **options,
    )


def write_domains(folder, n=40, n_labelled=24, labels=("cat", "dog"), seed=0):
    """Two shifted clouds per domain as s.csv and t.csv; target rows beyond `n_labelled` are unlabelled."""
    rng = np.random.default_rng(seed)
    for name, offset in (("s", 0.0), ("t", 2.0)):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["height", "width", "target"])
            for i in range(n):
                x = rng.normal((offset + 3 * (i % 2), 0))
                known = name == "s" or i < n_labelled
                out.writerow([*x, labels[i % 2] if known else ""])
    return ["--source", str(folder / "s.csv"), "--target", str(folder / "t.csv")]


# Each row: source file, target file, further arguments, what the sentence must say.
BAD_INPUT = {
    "unknown label column": (
        GOOD,
        GOOD,
        ["--label", "klass"],
        r"label column 'klass', found 'a', 'b', 'target'",
    ),
    "empty source": (b"", GOOD, [], r"s\.csv must hold a table, found an empty file"),
    "empty target": (GOOD, b"", [], r"t\.csv must hold a table, found an empty file"),
    "header only": (GOOD, b"a,b,target\n", [], r"t\.csv must hold at least two rows, found a header only"),
    "no common columns": (GOOD, b"c,d\n1,2\n3,4\n", [], "must share feature columns, found none in common"),
    "label column alone": (
        b"target\nx\ny\n",
        b"target\nx\ny\n",
        [],
        "must have at least one feature column|share",
    ),
    "text in a number column": (
        GOOD,
        GOOD + b"tall,2,x\n",
        [],
        r"t\.csv: column 'a', row 13 must hold a finite number, found 'tall'",
    ),
    "NaN": (GOOD + b"1,nan,x\n", GOOD, [], r"s\.csv: column 'b', row 13 .* found 'nan'"),
    "empty cell": (GOOD + b"1,,x\n", GOOD, [], r"s\.csv: column 'b', row 13 .* found an empty cell"),
    "one class": (b"a,b,target\n1,2,x\n3,4,x\n", GOOD, [], "must hold at least two classes, found one: 'x'"),
    "one target row": (GOOD, b"a,b,target\n1,2,x\n", [], "the target must hold at least two rows, found 1"),
    "unknown class": (
        GOOD,
        GOOD + b"1,2,z\n",
        [],
        "row 13 must hold one of the source's classes 'x', 'y', found 'z'",
    ),
    "duplicate columns": (b"a,a,target\n1,2,x\n3,4,y\n", GOOD, [], "found duplicates: 'a'"),
    "semicolons": (GOOD.replace(b",", b";"), GOOD, [], "must separate its columns by ',', found ';'"),
    "not UTF-8": (GOOD + b"1,2,\xff\n", GOOD, [], "must be UTF-8 text, found byte 0xff"),
    "text for regression": (
        GOOD,
        GOOD,
        ["--task", "regression"],
        "must hold finite numbers .* found text: 'x'",
    ),
    "test size": (GOOD, GOOD, ["--test-size", "1.5"], r"test_size must lie between 0 and 1, found 1\.5"),
}


@pytest.mark.parametrize("source, target, arguments, message", BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_gives_exit_code_2_one_sentence_and_no_folder(
    source, target, arguments, message, tmp_path, capsys
):
    (tmp_path / "s.csv").write_bytes(source)
    (tmp_path / "t.csv").write_bytes(target)
    files = ["--source", str(tmp_path / "s.csv"), "--target", str(tmp_path / "t.csv")]
    code = cli.main(["transfer", *files, "--out", str(tmp_path / "out"), *arguments])
    said = capsys.readouterr()
    assert code == 2
    assert re.fullmatch(f"isthmus: error: .*({message}).*\n", said.err)
    assert said.out == ""
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["s.csv", "t.csv"]


BAD_FILES = {
    "missing": ("missing.csv", "missing.csv does not exist"),
    "unknown suffix": ("notes.txt", r"must end in \.csv, \.npz or \.parquet, found '\.txt'"),
    "a folder": ("folder.csv", "must be a file, found a folder"),
}


@pytest.mark.parametrize("name, message", BAD_FILES.values(), ids=BAD_FILES)
def test_a_source_that_is_no_readable_file_is_refused(name, message, tmp_path, capsys):
    files = write_domains(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    assert (
        cli.main(["transfer", *files, "--source", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    )
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_parquet_without_pyarrow_names_the_extra_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    files = write_domains(tmp_path)
    (tmp_path / "s.parquet").write_bytes(b"PAR1")
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["transfer", *files, "--source", str(tmp_path / "s.parquet"), *out]) == 2
    assert "pip install 'isthmus[io]'" in capsys.readouterr().err


def test_a_traceback_is_shown_with_debug_only(tmp_path, capsys):
    arguments = ["transfer", "--source", "no.csv", "--target", "no.csv", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main([*arguments, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["transfer"], "required: --source, --target, --out"),
        (
            ["transfer", "--source", "s", "--target", "t", "--out", "o", "--align", "magic"],
            "invalid choice: 'magic'",
        ),
        (["travel"], "invalid choice: 'travel'"),
        (["info", "--verbose"], "unrecognized arguments: --verbose"),
    ],
)
def test_wrong_arguments_give_exit_code_2_and_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert re.fullmatch(f"isthmus: error: .*{message}.*\n", capsys.readouterr().err)


def test_help_says_what_each_alignment_does(capsys):
    with pytest.raises(SystemExit):
        cli.main(["transfer", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--align {coral,linear-ot,standard,subspace,gfk,tca,none}" in said
    assert all(f"{name}: {what}" in said for name, what in ALIGNMENTS.items())


def test_transfer_writes_its_four_files_and_prints_the_report(tmp_path):
    done = command("transfer", *write_domains(tmp_path), "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == FILES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "s.csv", "t.csv"]
    for words in (
        "source-only",
        "aligned",
        "fine-tuned",
        "target-only",
        "verdict: ",
        "before",
        "after coral",
    ):
        assert words in done.stdout
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["schema_version"] == 1 and metrics["settings"]["random_state"] == 0
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(1, 41))
    assert [row["split"] for row in rows].count("test") == metrics["domains"]["target"]["test"] == 12
    assert {row["prediction"] for row in rows} <= {"cat", "dog"}
    assert all((row["label"] == "") == (row["split"] == "unlabelled") for row in rows)


def test_a_full_out_folder_is_kept_unless_forced(tmp_path, capsys):
    files = [*write_domains(tmp_path), "--model", "linear"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("old")
    assert cli.main(["transfer", *files, "--out", str(tmp_path / "out")]) == 2
    assert "must be empty, found 1 entries (force, --force" in capsys.readouterr().err
    assert (tmp_path / "out" / "metrics.json").read_text() == "old"
    assert cli.main(["transfer", *files, "--out", str(tmp_path / "out"), "--force"]) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["schema_version"] == 1


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    """The signal arrives while the temporary folder exists."""
    files = write_domains(tmp_path, n=3000, n_labelled=2000)
    process = subprocess.Popen(
        [sys.executable, "-m", "isthmus", "transfer", *files, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(entry.name.startswith(".out.new-") for entry in tmp_path.iterdir()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ("", "isthmus: error: interrupted, nothing was written\n")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["s.csv", "t.csv"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    from isthmus import persist

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(persist, "save", full)
    assert cli.main(["transfer", *write_domains(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["s.csv", "t.csv"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(terminal, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    files = write_domains(tmp_path)
    assert cli.main(["transfer", *files, "--out", str(tmp_path / "out"), "--model", "linear"]) == 0
    said = capsys.readouterr()
    assert ("training on the source ..." in said.err) == said.err.endswith("\x1b[K") == terminal
    assert "\x1b" not in said.out and (terminal or not said.err)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run of the demo: the folder it ran in, and the finished process."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, command("demo", "--out", "right here", cwd=folder)


def test_the_demo_helps_on_digits_and_reports_both_examples_alike(demo):
    _, done = demo
    assert (done.returncode, done.stderr) == (0, "")
    assert "Warning" not in done.stdout
    first, second = done.stdout.split("Transfer to a new domain: ")[1:]
    assert first.startswith("classification of 'digit'") and second.startswith("regression of 'progression'")
    assert re.search(r"verdict: (\w+)", first)[1] == "helped"
    for text in (first, second):
        for words in (
            "before",
            "after coral",
            "source-only",
            "aligned",
            "fine-tuned",
            "target-only",
            "verdict: ",
        ):
            assert words in text


def test_the_demo_writes_only_below_its_out_folder(demo):
    folder, _ = demo
    assert [entry.name for entry in folder.iterdir()] == ["right here"]
    examples = [f"{name}-{role}.csv" for name in ("diabetes", "digits") for role in ("source", "target")]
    found = sorted(entry.name for entry in (folder / "right here").iterdir())
    assert found == sorted([*examples, "diabetes", "digits"])
    for name in ("diabetes", "digits"):
        assert sorted(entry.name for entry in (folder / "right here" / name).iterdir()) == FILES


def test_the_demo_s_regression_does_not_see_the_sex(demo):
    metrics = json.loads((demo[0] / "right here" / "diabetes" / "metrics.json").read_text())
    assert len(metrics["features"]) == 9 and "sex" not in metrics["features"]


def test_the_demo_refuses_a_full_folder(demo, capsys):
    assert cli.main(["demo", "--out", str(demo[0] / "right here")]) == 2
    assert "--force" in capsys.readouterr().err


def test_the_command_the_demo_prints_gives_the_demo_s_numbers(demo, monkeypatch):
    folder, done = demo
    monkeypatch.chdir(folder)
    line = next(line for line in done.stdout.splitlines() if "--label progression" in line)
    arguments = shlex.split(line.replace("diabetes-again", str(folder.with_name("again"))))
    assert cli.main(arguments[1:]) == 0
    first, second = (
        json.loads((path / "metrics.json").read_text())
        for path in (folder / "right here" / "diabetes", Path(arguments[-1]))
    )
    for key in ("scores", "shift", "verdict", "notes"):
        assert first[key] == second[key]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_demo_helps_on_digits_with_other_seeds(seed):
    example = digits()
    source, target = (example.X, example.y), (example.X_target, example.y_target)
    result = transfer(source, target, test_size=example.test_size, random_state=seed)
    assert result.verdict.label == "helped"


def test_info_names_versions_processor_threads_and_gpu(capsys):
    assert cli.main(["info", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["isthmus"] == isthmus.__version__
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == list(values)


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"isthmus {isthmus.__version__}\n")


def test_no_command_prints_the_help(capsys):
    assert cli.main([]) == 0
    assert "transfer" in capsys.readouterr().out


def test_bench_hands_further_arguments_to_pytest(tmp_path):
    pytest.importorskip("pytest_benchmark")
    listed = command("bench", "--collect-only", cwd=tmp_path)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert listed.stdout.count("::") > 0 and "deselected" in listed.stdout


def test_bench_full_deselects_nothing(monkeypatch):
    pytest.importorskip("pytest_benchmark")
    ran = []
    done = subprocess.CompletedProcess([], 5)
    monkeypatch.setattr(cli.subprocess, "run", lambda command, check: ran.append(command) or done)
    assert [cli.main(["bench", *full, "-x"]) for full in ([], ["--full"])] == [5, 5]
    assert ["quick" in command for command in ran] == [True, False]
    assert all(command[-1] == "-x" for command in ran)


def test_bench_without_pytest_benchmark_names_the_extra_to_install(capsys, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "pytest_benchmark" else name)
    assert cli.main(["bench"]) == 2
    assert capsys.readouterr().err.endswith("pip install 'isthmus[bench]'\n")


def test_help_and_version_load_nothing_heavy():
    code = "import sys; from isthmus import cli; print({'sklearn', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_temporary_folder_lies_beside_the_out_folder(tmp_path):
    with folders.new_folder(tmp_path / "out", force=False, replaces=()) as new:
        assert new.parent == tmp_path and new.name.startswith(".out.")
