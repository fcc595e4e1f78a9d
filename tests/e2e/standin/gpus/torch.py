"""Stands in for PyTorch with several GPUs: which one is current, and how it names and finds them.
TEST_TORCH_UUIDS has their UUIDs in PyTorch's own order."""

import os
import uuid as _uuid


class _Properties:
    def __init__(self, uuid):
        self.uuid = _uuid.UUID(uuid)


class device:  # noqa: N801
    def __init__(self, name):
        kind, _, number = name.partition(":")
        assert kind == "cuda", name
        self.number = int(number) if number else cuda.current_device()


class cuda:  # noqa: N801
    _uuids = os.environ["TEST_TORCH_UUIDS"].split(",")
    _current = 0

    @classmethod
    def is_available(cls):
        return True

    @classmethod
    def device_count(cls):
        return len(cls._uuids)

    @classmethod
    def get_device_properties(cls, number):
        return _Properties(cls._uuids[number])

    @classmethod
    def current_device(cls):
        return cls._current

    @classmethod
    def set_device(cls, number):
        assert 0 <= number < len(cls._uuids)
        cls._current = number


class Model:
    """What `model.to(device)` is called on; remembers where it went."""

    went = []

    def to(self, where):
        where = device(where) if isinstance(where, str) else where
        self.went.append(where.number)
        return self
