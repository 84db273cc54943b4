"""What is made of pytest's reports."""

from pathlib import Path

from tests.official.__main__ import _worse
from tests.official.running import FAILED, PASSED, SKIPPED, Result, read, summary
from tests.official.sdk_python import ALONE, parts

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.worker.test_w" name="test_a[x.y]" time="1.5"/>
<testcase classname="tests.worker.test_w.TestC" name="test_b" time="0.1"><failure message="no&#10;luck">...</failure></testcase>
<testcase classname="tests.worker.test_w" name="test_c" time="0"><skipped message="why"/></testcase>
<testcase classname="tests.worker.test_w" name="test_d" time="0"/>
<testcase classname="tests.worker.test_w" name="test_d" time="0"><error message="as it ended"/></testcase>
<testcase classname="" name="tests.broken.test_m" time="0"><error message="collection failure"/></testcase>
</testsuite></testsuites>"""


def checkout(folder: Path) -> Path:
    for name in (
        "worker/test_w.py",
        "worker/test_workflow.py",
        "nexus/test_n.py",
        "test_client.py",
        "api/test_a.py",
    ):
        path = folder / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_reports_are_read_by_the_ids_that_pytest_takes(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    found = read(report, checkout(tmp_path))
    assert {test: result.outcome for test, result in found.items()} == {
        "tests/worker/test_w.py::test_a[x.y]": PASSED,
        "tests/worker/test_w.py::TestC::test_b": FAILED,
        "tests/worker/test_w.py::test_c": SKIPPED,
        "tests/worker/test_w.py::test_d": FAILED,
        "tests::broken::test_m::tests.broken.test_m": FAILED,
    }
    assert found["tests/worker/test_w.py::TestC::test_b"].reason == "no"
    assert summary(found) == "1 passed, 3 failed, 1 skipped"
    assert read(tmp_path / "never written.xml", tmp_path) == {}


def test_what_passes_there_and_not_here() -> None:
    passed, failed = Result(outcome=PASSED, seconds=1), Result(outcome=FAILED, seconds=1)
    there = {"both": passed, "fails here": passed, "never reached here": passed, "fails there": failed}
    here = {"both": passed, "fails here": failed, "fails there": passed}
    assert _worse(here, there) == {"fails here", "never reached here"}


def test_each_file_is_in_one_part(tmp_path: Path) -> None:
    made = parts(checkout(tmp_path))
    named = [[argument for argument in part if not argument.startswith("--")] for part in made]
    assert named == [
        ["tests/contrib"],
        ["tests/nexus"],
        ["tests/worker/test_workflow.py"],
        ["tests/worker"],
        ["tests/api/test_a.py", "tests/test_client.py"],
        *([test] for test in ALONE),
    ]
