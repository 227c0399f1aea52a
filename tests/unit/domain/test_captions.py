from app.domain.segment import Caption, render_srt, render_vtt

CAPTIONS = [
    Caption(0, 0.0, 1.28, "Fish & chips."),
    Caption(1, 1.28, 3_723.5, "a < b > c"),
]


def test_srt_counts_from_one_and_has_commas() -> None:
    assert render_srt(CAPTIONS) == (
        "1\n00:00:00,000 --> 00:00:01,280\nFish & chips.\n\n"
        "2\n00:00:01,280 --> 01:02:03,500\na < b > c\n\n"
    )


def test_vtt_has_a_head_and_escapes_markup() -> None:
    assert render_vtt(CAPTIONS) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.280\nFish &amp; chips.\n\n"
        "00:00:01.280 --> 01:02:03.500\na &lt; b &gt; c\n\n"
    )


def test_a_time_just_below_a_second_is_rounded_up_to_it() -> None:
    assert "00:01:00,000 -->" in render_srt([Caption(0, 59.9996, 61.0, "x")])


def test_nothing_said_is_an_empty_file() -> None:
    assert render_srt([]) == ""
    assert render_vtt([]) == "WEBVTT\n\n"
