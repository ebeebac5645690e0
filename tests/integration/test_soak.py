"""The soak, short: the bench has ten thousand jobs."""

from pathlib import Path

import pytest

from bench import soak

N_JOBS = 80
LEAST_FAULTS = 4


@pytest.mark.faults
def test_small_jobs_under_random_kills_and_freezes_all_end_once(tmp_path: Path) -> None:
    figures = soak.run(tmp_path, N_JOBS, seed=3, least_faults=LEAST_FAULTS)
    assert figures["wrong"] == []
    assert (figures["states"], figures["lost"]) == ({"SUCCEEDED": figures["jobs accepted"]}, 0)
    assert figures["jobs accepted"] >= N_JOBS
    assert sum(figures["faults"].values()) >= LEAST_FAULTS
