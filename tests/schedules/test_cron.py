"""Cron expressions: both nights of a clock change, order, and sentences for what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragonfly.cron import Cron
from dragonfly.errors import ConfigurationError

NEW_YORK = "America/New_York"
# 02:00 becomes 03:00, and 02:00 becomes 01:00
SPRING, AUTUMN = datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)


def of_the_day(expression: str, midnight: datetime, timezone: str = NEW_YORK) -> list[str]:
    """The times of a day that begins at this midnight of the zone, each with its offset."""
    cron = Cron(expression, timezone)
    day = midnight.astimezone(cron.zone).date()
    later = takewhile(
        lambda time: time.astimezone(cron.zone).date() == day,
        cron.after(midnight - timedelta(seconds=1)),
    )
    return [time.astimezone(cron.zone).strftime("%H:%M%z") for time in later]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 1 * * *", ["01:30-0500"]),
        ("0 2 * * *", ["03:00-0400"]),
        ("30 2 * * *", ["03:00-0400"]),
        ("0,30 2 * * *", ["03:00-0400"]),
        ("30 2,3 * * *", ["03:00-0400", "03:30-0400"]),
        ("30 3 * * *", ["03:30-0400"]),
        ("*/20 2 * * *", []),
    ],
)
def test_the_night_in_spring(expression: str, expected: list[str]) -> None:
    """A time that the clock leaves out is due at 03:00, once; with a * in front it is left out."""
    assert expected == of_the_day(expression, SPRING)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("59 0 * * *", ["00:59-0400"]),
        ("30 1 * * *", ["01:30-0400"]),
        ("0,30 1 * * *", ["01:00-0400", "01:30-0400"]),
        ("0 0-3 * * *", ["00:00-0400", "01:00-0400", "02:00-0500", "03:00-0500"]),
        ("30 2 * * *", ["02:30-0500"]),
        ("*/30 1 * * *", ["01:00-0400", "01:30-0400", "01:00-0500", "01:30-0500"]),
    ],
)
def test_the_night_in_autumn(expression: str, expected: list[str]) -> None:
    """A time that the clock shows twice is due the first time; with a * in front both times."""
    assert expected == of_the_day(expression, AUTUMN)


@pytest.mark.parametrize(("midnight", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_every_real_hour(midnight: datetime, hours: int) -> None:
    """An hourly job comes 23 times on the short day, 25 on the long, always an hour apart."""
    assert hours == len(of_the_day("0 * * * *", midnight))

    times = list(islice(Cron("15 * * * *", NEW_YORK).after(midnight), 30))
    assert {timedelta(hours=1)} == {b - a for a, b in pairwise(times)}


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_a_start_in_the_hour_that_comes_again(minute: int) -> None:
    """Whoever starts in the second 01:00 hour does not find the times of the first again."""
    second_hour = datetime(2026, 11, 1, 6, minute, tzinfo=UTC)

    expected = datetime(2026, 11, 2, 6, 50, tzinfo=UTC)
    assert expected == Cron("50 1 * * *", NEW_YORK).next_after(second_hour)


def test_a_midnight_that_is_left_out() -> None:
    """Where the clock leaves midnight out, as in Santiago, a daily job comes at one."""
    midnight = datetime(2026, 9, 6, 4, tzinfo=UTC)

    assert ["01:00-0300"] == of_the_day("0 0 * * *", midnight, "America/Santiago")


ZONES = st.sampled_from(
    [NEW_YORK, "UTC", "Europe/Berlin", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe"]
)
DAYS = st.integers(0, 15 * 365)
MOMENTS = st.integers(0, 15 * 365 * 86400 * 1000).map(
    lambda ms: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    """One field: every one, a number, a list, a range or a step."""
    number = st.integers(least, most)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=1, max_size=4).map(lambda each: ",".join(map(str, each))),
        st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
        st.integers(1, most).map(lambda step: f"*/{step}"),
    )


CRONS = st.tuples(
    fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), st.sampled_from(["*", "1-5", "MON"])
).map(" ".join)


@settings(deadline=None)
@given(
    st.integers(0, 23),
    st.integers(0, 59),
    DAYS,
    st.sampled_from([NEW_YORK, "Europe/Berlin", "America/Santiago"]),
)
def test_a_daily_job_comes_once_a_day(hour: int, minute: int, day: int, zone: str) -> None:
    """A job with a fixed hour and minute comes exactly once on every day of every year."""
    noon = datetime(2020, 1, 1, 12) + timedelta(days=day)  # noqa: DTZ001 - on the wall
    cron = Cron(f"{minute} {hour} * * *", zone)
    first = noon.replace(tzinfo=cron.zone).astimezone(UTC) - timedelta(hours=36)
    days = [time.astimezone(cron.zone).date() for time in islice(cron.after(first), 4)]

    assert 1 == days.count(noon.date())


@settings(deadline=None)
@given(CRONS, ZONES, MOMENTS)
def test_times_only_grow(expression: str, zone: str, moment: datetime) -> None:
    """Times come later than the moment asked from, each later than the one before, on a minute."""
    times = list(islice(Cron(expression, zone).after(moment), 12))

    assert 12 == len(times)
    assert [moment, *times] == sorted({moment, *times})
    assert {(0, 0)} == {(time.second, time.microsecond) for time in times}


@settings(deadline=None)
@given(CRONS, st.sampled_from([NEW_YORK, "UTC", "Europe/Berlin"]), MOMENTS)
def test_each_time_leads_to_the_next(expression: str, zone: str, moment: datetime) -> None:
    """Asked anew from each time, the answers are the same as from one walk: none is left out."""
    cron = Cron(expression, zone)
    walk = list(islice(cron.after(moment), 8))

    assert walk[1:] == [cron.next_after(time) for time in walk[:-1]]


@settings(deadline=None)
@given(
    st.sampled_from(["* * * * *", "*/15 1 * * *", "30 1 * * *", "0 6 * * 1-5", "0 0 1 * *"]),
    st.sampled_from([SPRING, AUTUMN]),
    st.integers(-3000, 3000),
    st.integers(0, 5000),
    st.integers(1, 40),
)
def test_the_latest_are_the_end_of_all(
    expression: str, night: datetime, offset: int, minutes: int, most: int
) -> None:
    """The newest times of a span are those that a walk through all of it ends with."""
    cron = Cron(expression, NEW_YORK)
    since = night + timedelta(minutes=offset)
    until = since + timedelta(minutes=minutes)
    first = cron.after(since - timedelta(microseconds=1))
    every = list(takewhile(lambda time: time <= until, first))

    assert (every[-most:], len(every) > most) == cron.latest(since, until, most)


def test_a_year_of_minutes_is_no_walk() -> None:
    """The newest thousand of ten years of minutes are found without passing through the years."""
    now = datetime(2026, 11, 24, tzinfo=UTC)

    times, more = Cron("* * * * *").latest(now - timedelta(days=3650), now, 1000)

    assert (1000, now - timedelta(minutes=999), now, True) == (
        len(times),
        times[0],
        times[-1],
        more,
    )


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 6 * * *", "the minute '61' of the cron expression .* is not valid; allowed are 0 to"),
        ("0 24 * * *", "the hour '24' .*allowed are 0 to 23"),
        ("0 0 30 2 *", "the day of month '30' .*allowed are 1 to 31 .a day the month has"),
        ("0 0 * JUNE *", "the month 'JUNE' .*allowed are 1 to 12 and JAN to DEC"),
        ("0 0 * * MONDAY", "the day of week 'MONDAY' .*allowed are 0 to 7 and SUN to SAT"),
        ("0 6 * *", "has 4 fields; it must have five: minute, hour, day of month"),
        ("0 0 6 * * *", "has 6 fields"),
        ("", "has 0 fields"),
        ("@reboot", "has 1 field; .*@hourly, @daily"),
        ("0 0 */29 2 1#5", "is never due"),
    ],
)  # fmt: skip
def test_what_an_expression_may_not_say(expression: str, says: str) -> None:
    """A wrong expression is answered by the field that is wrong and what it may be."""
    with pytest.raises(ConfigurationError, match=says):
        Cron(expression)


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("America/NewYork", "'America/NewYork' is unknown; .*did you mean America/New_York"),
        ("EDT", "such as America/New_York or UTC"),
        ("", "such as"),
        ("/etc/localtime", "such as"),
        ("../UTC", "such as"),
        ("Zoë\0", "such as"),
    ],
)
def test_what_a_time_zone_may_not_be(zone: str, says: str) -> None:
    """An unknown zone is answered by what is allowed, and by the one that was meant."""
    with pytest.raises(ConfigurationError, match=says):
        Cron("0 6 * * *", zone)


@settings(deadline=None)
@given(st.text(alphabet="*/-,#L0123456789 MONJAW\0é", max_size=24), st.text(max_size=12))
def test_any_text_is_answered(expression: str, zone: str) -> None:
    """Whatever is written, the answer is an expression that can be shown, or a sentence."""
    try:
        answer = Cron(expression, zone).words()
    except ConfigurationError as error:
        answer = str(error)

    assert answer


def test_nicknames_and_words() -> None:
    """Nicknames stand for expressions, and each reads as English."""
    assert "At 00:00 every day" == Cron("@daily").words()
    assert "At 06:00 on Monday through Friday" == Cron("0 6 * * 1-5").words()
