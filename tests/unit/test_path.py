"""The way of a cut-out: it stands for what stands, follows what goes, and holds on to one of two."""

import numpy as np
import pytest

from topclip.pipeline.path import CALM, CLOSE, FULL, SPEED, Floats, Manner, Way, best_way, gain_of, places, simplified

WINDOW = 0.3
STEP_S = 0.25


def way_of(*subjects: Floats, size: float = 0.08, weights: tuple[float, ...] = (1.0,), manner: Manner = CALM) -> Way:
    gains = sum(
        w * np.array([gain_of(at, size, WINDOW) for at in subject])
        for subject, w in zip(subjects, weights, strict=True)
    )
    return best_way(np.rint(FULL * gains).astype(np.int64), np.arange(len(subjects[0])) * STEP_S, WINDOW, manner)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_a_still_subject_is_stood_before_without_a_move(noise: float) -> None:
    spots = 0.7 + np.random.default_rng(3).normal(0, noise, 60)
    way = way_of(spots)
    assert len(set(way.places)) == 1
    assert way.places[0] == pytest.approx(0.7, abs=0.02)
    assert way.jumps == ()


def test_one_who_goes_is_followed_within_the_picture_and_never_faster_than_the_cap() -> None:
    spots = np.interp(np.arange(60), [0, 12, 40, 60], [0.02, 0.02, 0.98, 0.98])
    way = way_of(spots)
    inside = np.clip(spots, WINDOW / 2, 1 - WINDOW / 2)
    assert np.abs(way.places - inside).max() < WINDOW / 2 - 0.04
    assert np.abs(np.diff(way.places)).max() <= SPEED * STEP_S + 1e-6
    assert way.places.min() >= WINDOW / 2 - 1e-6
    assert way.places.max() <= 1 - WINDOW / 2 + 1e-6
    assert way.jumps == ()


def test_one_who_paces_is_kept_by_the_close_way_within_the_same_cap() -> None:
    spots = 0.85 - np.abs(0.5 * STEP_S * np.arange(60) % 1.4 - 0.7)
    calm, close = (way_of(spots, manner=manner) for manner in (CALM, CLOSE))
    missed = [float(np.mean(np.abs(way.places - spots) > WINDOW / 2)) for way in (calm, close)]
    assert missed[0] > 0.3
    assert missed[1] < 0.05
    assert np.abs(np.diff(close.places)).max() <= SPEED * STEP_S + 1e-6
    assert close.jumps == ()


def test_the_close_way_leads_over_no_gap_between_two_either() -> None:
    turns = np.arange(60) // 4 % 2
    way = way_of(np.where(turns, 0.15, 0.85), manner=CLOSE)
    assert all(abs(at - 0.5) > 0.3 for at in way.places)


def test_of_two_far_apart_the_larger_is_held_and_the_gap_is_never_shown() -> None:
    left, right = np.full(60, 0.15), np.full(60, 0.85)
    assert set(way_of(left, right, weights=(0.8, 1.0)).places) == {places(WINDOW)[-1]}
    turn = np.where(np.arange(60) < 30, 1.0, 0.2)
    gains = [np.array([w * gain_of(at, 0.08, WINDOW) for w in ws]) for at, ws in ((0.15, turn), (0.85, 1.2 - turn))]
    way = best_way(np.rint(FULL * sum(gains)).astype(np.int64), np.arange(60) * STEP_S, WINDOW)
    assert way.jumps == (30,)
    assert set(way.places) == {places(WINDOW)[0], places(WINDOW)[-1]}


def test_a_word_of_the_other_one_is_no_reason_to_jump() -> None:
    turn = np.where((np.arange(60) > 30) & (np.arange(60) < 40), 0.2, 1.0)
    gains = [np.array([w * gain_of(at, 0.08, WINDOW) for w in ws]) for at, ws in ((0.15, turn), (0.85, 1.2 - turn))]
    way = best_way(np.rint(FULL * sum(gains)).astype(np.int64), np.arange(60) * STEP_S, WINDOW)
    assert set(way.places) == {places(WINDOW)[0]}


@pytest.mark.parametrize(
    ("left_after", "n_after", "jumps"), [(0.0, 4, (48,)), (0.3, 4, ()), (0.0, 1, ()), (0.0, 3, ())]
)
def test_who_has_gone_is_held_on_to_no_longer_than_who_is_silent(
    left_after: float, n_after: int, jumps: tuple[int, ...]
) -> None:
    """And to the end of a clip that ends so soon that nobody would see whom it jumps to."""
    n = 48 + n_after
    after = np.arange(n) >= 48
    weights = ((0.15, np.where(after, left_after, 1.0)), (0.85, np.where(after, 1.0, 0.5)))
    gains = sum(np.outer(w, gain_of(at, 0.08, WINDOW)) for at, w in weights)
    way = best_way(np.rint(FULL * gains).astype(np.int64), np.arange(n) * STEP_S, WINDOW)
    assert way.jumps == jumps
    assert set(way.places) <= {places(WINDOW)[0], places(WINDOW)[-1]}


@pytest.mark.parametrize("n", [10, 12, 16, 24])
def test_in_a_short_shot_too_who_takes_over_is_jumped_to_and_nothing_is_shown_before(n: int) -> None:
    is_second = np.arange(n) >= n // 2
    seen = [np.outer(w, gain_of(at, 0.08, WINDOW)) for w, at in ((~is_second, 0.15), (is_second, 0.85))]
    way = best_way(np.rint(FULL * sum(seen)).astype(np.int64), np.arange(n) * STEP_S, WINDOW)
    assert way.jumps == (n // 2,)
    assert set(way.places) == {places(WINDOW)[0], places(WINDOW)[-1]}


def test_a_faint_one_is_not_left_for_who_shows_at_the_very_end() -> None:
    is_late = np.arange(36) >= 34
    seen = [
        np.outer(w, gain_of(at, 0.08, WINDOW))
        for w, at in ((np.where(is_late, 0.9, 0.15), 0.15), (0.4 * ~is_late, 0.85))
    ]
    way = best_way(np.rint(FULL * sum(seen)).astype(np.int64), np.arange(36) * STEP_S, WINDOW)
    assert way.jumps == ()
    assert set(way.places) == {places(WINDOW)[-1]}


def test_nothing_to_see_leaves_it_in_the_middle() -> None:
    way = best_way(np.zeros((5, len(places(WINDOW))), np.int64), np.arange(5) * STEP_S, WINDOW)
    assert set(way.places) == {0.5}


def test_a_way_is_told_by_few_points_that_lie_on_it() -> None:
    times = np.arange(200) * STEP_S
    way = np.interp(times, [0, 10, 20, 30, 50], [0.2, 0.2, 0.8, 0.8, 0.5]) + np.sin(times) * 0.001
    kept = simplified(times, way, 0.004)
    assert len(kept) < 12
    assert np.abs(np.interp(times, times[kept], way[kept]) - way).max() <= 0.004
    assert simplified(times, np.full(200, 0.3), 0.004) == [0]
