import json

import pytest

from labml_sd.images.json_text import MAX_JSON, json_object, texts_in

NO_OBJECTS = {
    "no text": None,
    "empty": "",
    "a list": "[1]",
    "cut": '{"a": ',
    "nested deep": '{"a":' * 200_000,
    "lists nested deep": "[" * 10**6,
    "a number of 5000 digits": '{"a": 1' + "0" * 5000 + "}",
    "too long": '{"a": "' + "x" * MAX_JSON + '"}',
}


@pytest.mark.parametrize("text", NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_what_is_not_an_object_is_an_empty_one(text):
    assert json_object(text) == {}


def test_an_object_is_read():
    assert json_object('{"a": [1, NaN], "b": {"c": "дом"}}')["b"] == {"c": "дом"}


def test_the_longest_text_is_read():
    text = json.dumps({"a": "x" * (MAX_JSON - 9)})
    assert len(text) == MAX_JSON and len(json_object(text)["a"]) == MAX_JSON - 9


def test_texts_in_are_the_entries_that_are_texts():
    assert texts_in({"a": "b", "c": 1, "d": ["e"], "f": None}) == {"a": "b"}
