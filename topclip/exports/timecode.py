"""Frame rates as editing programs know them, and timecodes of their frames. Pure.

A timecode counts whole frames of a whole nominal rate. At 29.97 and 59.94 frames a second it would fall behind the clock, so
the first 2 (or 4) numbers of each minute but every tenth are left out: drop-frame timecode (SMPTE ST 12-1), told by a
semicolon before the frames.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from topclip.model.source import SourceInfo

STANDARD = (
    *(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)),
    *(Fraction(n) for n in (24, 25, 30, 48, 50, 60, 100, 120)),
)
NEAR = Fraction(1, 2500)
"""An average rate that differs by no more is that rate: files tell it in rounded ticks. 29.97 and 30 differ by 1/1001."""
DROPPING = (30, 60, 120)
MINUTE_S, DAY_S = 60, 86_400
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


class Rate(NamedTuple):
    """Frames a second, what timecode takes it for, and whether it drops numbers."""

    exact: Fraction
    nominal: int
    is_drop: bool

    def frame_at(self, time_s: Fraction) -> int:
        """The frame that is shown nearest to a time; at a constant rate, that frame itself."""
        return round(time_s * self.exact)

    def timecode(self, frame: int) -> str:
        """The timecode of a frame, counted from midnight."""
        shown = frame + self._dropped(frame) if self.is_drop else frame
        seconds, frames = divmod(shown % (DAY_S * self.nominal), self.nominal)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{seconds:02}{';' if self.is_drop else ':'}{frames:02}"

    def frame_of(self, timecode: str) -> int:
        """The frame that bears a timecode, 0 if it is none."""
        found = TIMECODE.fullmatch(timecode.strip())
        if found is None:
            return 0
        hours, minutes, seconds, frames = (int(found[k]) for k in (1, 2, 3, 5))
        minutes += hours * 60
        shown = (minutes * MINUTE_S + seconds) * self.nominal + frames
        return shown - self._a_minute * (minutes - minutes // 10) if self.is_drop else shown

    @property
    def _a_minute(self) -> int:
        """Numbers left out at the beginning of a minute."""
        return self.nominal // 15

    def _dropped(self, frame: int) -> int:
        """Numbers left out before a frame."""
        per_minute = self.nominal * MINUTE_S - self._a_minute
        per_ten = per_minute * 10 + self._a_minute
        tens, rest = divmod(frame, per_ten)
        minutes = max(0, rest - self._a_minute) // per_minute
        return self._a_minute * (9 * tens + minutes)


def rate_of(info: SourceInfo) -> Rate:
    """The rate that an editing program gives the source: its own, or of a rate that varies the one that its frames fall on, or
    else the nearest usual one.

    Whether numbers are dropped the source's own timecode tells, else its rate.
    """
    rates = [info.video.rate, *([Fraction(info.base_fps)] if info.base_fps else ())]
    exact = next((found for rate in rates if (found := _known(rate))), _usual(rates[0]))
    nominal = round(exact)
    can_drop = exact.denominator == 1001 and nominal in DROPPING
    says = TIMECODE.fullmatch((info.timecode or "").strip())
    return Rate(exact, nominal, can_drop and (says is None or says[4] != ":"))


def _known(rate: Fraction) -> Fraction | None:
    """The rate as it is meant, if it is one that editing programs know."""
    if _is_near(rate, _usual(rate)):
        return _usual(rate)
    if _is_near(rate, Fraction(round(rate))) and rate <= max(STANDARD):
        return Fraction(round(rate))  # such as 15 frames a second of a screen
    return _usual(rate * 2) if _is_near(rate * 2, _usual(rate * 2)) else None  # each frame counts as two


def _usual(rate: Fraction) -> Fraction:
    return min(STANDARD, key=lambda one: abs(one - rate))


def _is_near(rate: Fraction, other: Fraction) -> bool:
    return abs(rate - other) <= rate * NEAR
