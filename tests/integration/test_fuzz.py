"""Damaged files, some hundred with a fixed seed: clips or an error that says why, and nothing left. The bench has thousands."""

from pathlib import Path

import pytest

from bench.fuzz import run_cases, run_through_workers
from bench.mutations import make_sources, mutated

SEED = 7


@pytest.mark.faults
def test_every_damaged_file_ends_in_clips_or_a_typed_error(tmp_path: Path) -> None:
    outcomes = list(run_cases(tmp_path, make_sources(tmp_path), SEED, range(400), 2))
    assert [o for o in outcomes if o.is_bad] == []
    assert {o.code for o in outcomes} > {"OK", "UNSUPPORTED_MEDIA", "PROBE_FAILED"}


@pytest.mark.faults
def test_damaged_files_kill_no_worker_and_leave_nothing(tmp_path: Path) -> None:
    found = run_through_workers(tmp_path, make_sources(tmp_path), SEED, range(60), 150)
    assert found["bad"] == []


def test_a_case_is_its_seed_and_number_alone(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, again = make_sources(tmp_path), make_sources(tmp_path / "again")
    assert first == again
    assert [mutated(first, 1, n) for n in range(50)] == [mutated(again, 1, n) for n in range(50)]
    assert mutated(first, 1, 3) != mutated(first, 2, 3)
