"""The soak, short: the bench has ten thousand jobs."""

from pathlib import Path

import pytest

from bench import soak

N_JOBS = 80


@pytest.mark.faults
def test_small_jobs_under_random_kills_and_freezes_all_end_once(tmp_path: Path) -> None:
    figures = soak.run(tmp_path, N_JOBS, seed=3)
    assert figures["wrong"] == []
    assert (figures["states"], figures["lost"]) == ({"SUCCEEDED": N_JOBS}, 0)
    assert sum(figures["faults"].values()) >= 3
