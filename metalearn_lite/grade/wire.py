"""Values between the box and the grader, as plain JSON. Both sides use this file; the trusted side believes nothing.

    None, True, 3, 0.5, "x"       as they are; nan and the infinities as {"f": "nan"}
    [..], (..), {..}              {"list": [..]}, {"tuple": [..]}, {"dict": [[key, value], ..]}, {"set": [..]}
    a tensor                      {"tensor": BASE64 of its bytes, "dtype": "float64", "shape": [2, 3], "grad": false}
    anything else                 {"other": the name of its type}; so, too, a whole number beyond 63 bits
"""

import base64
import math
from collections import deque
from itertools import islice

import torch

DTYPES = {name: getattr(torch, name) for name in (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128")}
NUMBERS = 500_000  # the most numbers of a message's tensors; the exercises need 12,288. (Row by row, 500 bytes each)
ITEMS = 20_000  # the most values of one message; the exercises need 4,201
DEPTH = 12
LETTERS = 200_000  # the longest string


class Unreadable(ValueError):
    """What came does not follow the rules above."""


class Other:
    """Something that cannot cross: only the name of its type did."""


def encode(value, tensors=None, depth=DEPTH, room=None):
    """-> what json.dumps takes. ``tensors``: a list to which each tensor is appended, in order."""
    room = room if room is not None else [ITEMS, NUMBERS]
    room[0] -= 1
    if depth < 0 or room[0] < 0:
        return {"other": "too much"}
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value[:LETTERS].encode("utf-8", "replace").decode("utf-8")
    if kind is int:
        return value if abs(value) < 2**63 else {"other": "int"}
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, tensors, room)
    if value is ...:
        return {"other": "ellipsis"}
    inner = (tensors, depth - 1, room)
    if isinstance(value, dict):
        return {"dict": [[encode(k, *inner), encode(v, *inner)] for k, v in value.items()]}
    for name, sort in (("list", list), ("tuple", tuple), ("set", (set, frozenset))):
        if isinstance(value, sort):
            return {name: [encode(item, *inner) for item in value]}
    if isinstance(value, (float, int)):  # numpy's float64 and a truth value's or number's subclass
        return encode(float(value) if isinstance(value, float) else int(value), *inner)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy's arrays and numbers
        return encode(value.tolist(), *inner)
    if isinstance(value, (range, deque, map, zip)):
        return {"list": [encode(item, *inner) for item in islice(value, ITEMS)]}
    return {"other": "function" if callable(value) else str(kind.__name__)[:60]}


def size(shape):
    """The numbers of a tensor, at least; of one without any its rows, which whoever goes through them must make."""
    return math.prod(max(n, 1) for n in shape)


def _encode_tensor(value, tensors, room):
    room[1] -= size(value.shape)
    name = str(value.dtype).removeprefix("torch.")
    if name not in DTYPES or value.layout is not torch.strided or value.device.type == "meta" or room[1] < 0:
        return {"other": "Tensor"}
    if tensors is not None:
        tensors.append(value)
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = flat.view(torch.uint8) if flat.numel() else torch.zeros(0, dtype=torch.uint8)
    return {"tensor": base64.b64encode(data.numpy().tobytes()).decode(), "dtype": name, "shape": list(value.shape),
            "grad": value.requires_grad}


def decode(thing, tensors=None, depth=DEPTH, room=None):
    """-> the value. Raises Unreadable for whatever does not follow the rules. ``tensors`` as for `encode`."""
    room = room if room is not None else [ITEMS, NUMBERS]
    room[0] -= 1
    if depth < 0 or room[0] < 0:
        raise Unreadable("an answer too deep or too large")
    if thing is None or type(thing) in (bool, float):
        return thing
    if type(thing) is int and abs(thing) < 2**63:
        return thing
    if type(thing) is str and len(thing) <= LETTERS:
        return thing
    if type(thing) is not dict:
        raise Unreadable("an answer of no known form")
    inner = (tensors, depth - 1, room)
    if set(thing) == {"tensor", "dtype", "shape", "grad"}:
        return _decode_tensor(thing, tensors, room)
    if len(thing) != 1:
        raise Unreadable("an answer of no known form")
    (name, held), = thing.items()
    if name == "f" and held in ("nan", "inf", "-inf"):
        return float(held)
    if name == "other" and type(held) is str:
        return _other(held)
    if type(held) is not list:
        raise Unreadable("an answer of no known form")
    if name == "dict":
        if not all(type(pair) is list and len(pair) == 2 for pair in held):
            raise Unreadable("a dictionary of no known form")
        return {_key(decode(k, *inner)): decode(v, *inner) for k, v in held}
    if name == "set":
        return {_key(decode(item, *inner)) for item in held}
    if name in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[name](decode(item, *inner) for item in held)
    raise Unreadable("an answer of no known form")


def _key(value):
    if not isinstance(value, (str, int, float, bool, type(None))) and not (
            isinstance(value, tuple) and all(isinstance(part, (str, int, float, bool)) for part in value)):
        raise Unreadable("a key of no known form")
    return value


def _other(name):
    if name == "ellipsis":
        return ...
    if name == "function":
        return lambda *arguments: None
    word = "".join(letter for letter in name if letter.isalnum() or letter == "_")[:60] or "object"
    return type(word, (Other,), {})()


def _decode_tensor(thing, tensors, room):
    data, name, shape, grad = thing["tensor"], thing["dtype"], thing["shape"], thing["grad"]
    if type(data) is not str or type(name) is not str or name not in DTYPES or type(grad) is not bool:
        raise Unreadable("a tensor of no known form")
    if type(shape) is not list or len(shape) > 32 or not all(type(n) is int and 0 <= n <= 2**31 for n in shape):
        raise Unreadable("a tensor of no known shape")
    room[1] -= size(shape)
    if room[1] < 0:
        raise Unreadable("tensors too large")
    dtype = DTYPES[name]
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        raise Unreadable("a tensor of no known form") from None
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise Unreadable("a tensor whose numbers do not fill its shape")
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.zeros(0, dtype=torch.uint8)
    if dtype is torch.bool:
        value = (flat != 0).reshape(shape)
    else:
        value = flat.view(dtype).reshape(shape) if raw else torch.zeros(shape, dtype=dtype)
    if grad and (value.is_floating_point() or value.is_complex()):
        value.requires_grad_()
    if tensors is not None:
        tensors.append(value)
    return value
