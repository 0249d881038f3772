from labml_sd.evaluation.compare_attributes import Share
from labml_sd.evaluation.tables import percent, sections_of, table


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_share_is_in_percent_with_its_interval():
    assert percent(Share(0.5, 100).as_data()) == "50.0 (40.4 to 59.6)"
    assert percent(None) == "-"


def test_sections_follow_the_order_of_their_makers_and_need_results():
    makers = {
        "a": lambda part: [f"a {part}"],
        "b": lambda part: [f"b {part}", "."],
        "c": lambda part: ["c"],
    }
    assert sections_of(makers, {"b": 2, "a": 1, "other": 3}) == ["a 1", "b 2", "."]
