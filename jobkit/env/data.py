"""A decorator for the shim's frozen data: what it needs of `dataclasses`, without what that costs.

`import dataclasses` brings `inspect` with it and takes longer than Python's own start (measured: 22 ms beside
14 ms), and every rank of every job would wait for it. To a type checker this is `dataclasses.dataclass`
itself.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def _init(self, *values, **named):
        names = type(self).__match_args__
        if len(values) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values, got {len(values)}")
        given = dict(zip(names, values, strict=False), **named)
        unknown = given.keys() - set(names)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name in names:
            if name not in given and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = given.get(name, getattr(type(self), name, None))

    def _refuse(self, name, *_):
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def _same(self, other):
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def _text(self):
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__match_args__)
        return f"{type(self).__name__}({values})"

    def _hash(self):
        return hash(tuple(self.__dict__.values()))

    def dataclass(*, frozen):
        """Return a decorator that makes a class of annotated names a frozen record."""
        assert frozen, "the shim's data are frozen"

        def decorate(cls):
            cls.__match_args__ = tuple(cls.__annotations__)
            cls.__init__, cls.__eq__, cls.__hash__, cls.__repr__ = _init, _same, _hash, _text
            cls.__setattr__ = cls.__delattr__ = _refuse
            return cls

        return decorate
