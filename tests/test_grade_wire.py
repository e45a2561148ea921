"""Values cross to the box and back as they were; whatever does not follow the rules is refused, and never anything worse."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metalearn_lite.grade import wire

PLAIN = st.none() | st.booleans() | st.integers(-2**63 + 1, 2**63 - 1) | st.floats() | st.text(max_size=20)
KEYS = st.text(max_size=5) | st.integers(-5, 5)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
                      | st.tuples(inner, inner) | st.sets(KEYS, max_size=4), max_leaves=20)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
    st.sampled_from(["list", "tuple", "dict", "set", "tensor", "dtype", "shape", "grad", "other", "f", "i"]) | st.text(max_size=3),
    inner, max_size=5), max_leaves=30)


def across(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value))))


def same(a, b):
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@given(VALUES)
def test_what_crosses_is_what_it_was(value):
    assert same(across(value), value)


@given(JSON)
def test_anything_else_is_refused(thing):
    try:
        wire.decode(json.loads(json.dumps(thing)))
    except wire.Unreadable:
        pass


@pytest.mark.parametrize("dtype", wire.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_a_tensor_keeps_its_numbers_type_and_shape(dtype, shape):
    value = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    back = across(value)
    assert back.dtype is dtype and back.shape == value.shape and torch.equal(back, value)
    assert not back.requires_grad


def test_a_tensor_keeps_what_is_special():
    value = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 5e-324], dtype=torch.float64)
    back = across(value)
    assert back.numpy().tobytes() == value.numpy().tobytes()
    leaf = across(torch.ones(2, requires_grad=True))
    assert leaf.requires_grad and leaf.is_leaf
    turned = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(across(turned), turned)
    assert across(torch.ones(2, 2, dtype=torch.bool).triu()).tolist() == [[True, True], [False, True]]


def test_what_cannot_cross_comes_as_the_name_of_its_type():
    assert type(across(object())).__name__ == "object"
    assert callable(across(print)) and across(...) is ...
    for huge in (10**400, torch.zeros(1).expand(10**12), torch.zeros(10**7, 0), torch.zeros(3, device="meta"), torch.eye(3).to_sparse()):
        assert isinstance(across(huge), wire.Other)
    endless = []
    endless.append(endless)
    json.dumps(wire.encode(endless))
    assert wire.encode([0] * 10**6)["list"][-1] == {"other": "too much"}


@pytest.mark.parametrize("thing", [
    {"tensor": "", "dtype": "float64", "shape": [-1], "grad": False},
    {"tensor": "", "dtype": "float64", "shape": [2**40], "grad": False},
    {"tensor": "", "dtype": "float64", "shape": [2**31, 0], "grad": False},
    {"list": [{"tensor": "", "dtype": "float64", "shape": [wire.NUMBERS // 2, 0], "grad": False}] * 3},
    {"tensor": "", "dtype": "float64", "shape": [True], "grad": False},
    {"tensor": "", "dtype": "object", "shape": [0], "grad": False},
    {"tensor": "", "dtype": ["float64"], "shape": [0], "grad": False},
    {"tensor": "AAAA", "dtype": "float64", "shape": [1], "grad": False},
    {"tensor": "!!!!", "dtype": "uint8", "shape": [3], "grad": False},
    {"tensor": "AAAA", "dtype": "uint8", "shape": [3], "grad": 1},
    {"tensor": "AAAA", "dtype": "uint8", "shape": [1] * 40 + [3], "grad": False},
    {"dict": [[{"list": []}, 1]]}, {"dict": [[1]]}, {"dict": {"a": 1}}, {"set": [{"list": []}]}, {"list": {}},
    {"list": [], "more": 1}, {}, [], 2**63, {"f": 1}, {"f": "1"}, {"other": 1}, {"what": []}], ids=repr)
def test_each_field_is_looked_at(thing):
    with pytest.raises(wire.Unreadable):
        wire.decode(thing)


def test_depth_and_size_have_an_end():
    deep = 1
    for _ in range(100):
        deep = {"list": [deep]}
    for thing in (deep, {"list": [0] * (wire.ITEMS + 1)}, "x" * (wire.LETTERS + 1)):
        with pytest.raises(wire.Unreadable):
            wire.decode(thing)
