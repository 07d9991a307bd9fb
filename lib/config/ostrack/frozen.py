"""The object that a loaded configuration is: an easydict that cannot be changed."""

from __future__ import annotations

from typing import Any, NoReturn

from easydict import EasyDict


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("a loaded configuration is frozen: pass overrides=['KEY.SUB=value'] to load_config instead")


class FrozenList(list):
    """A list that compares like a list and cannot be changed."""

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


class Config(EasyDict):
    """One section of a configuration: ``cfg.TRAIN.LR`` or ``cfg["TRAIN"]["LR"]``.

    Extension keys that the experiment does not set are reachable as attributes and are not items (see ``defaults.py``).
    """

    def __init__(self, values: dict[str, Any], extensions: dict[str, Any] | None = None):
        extensions = extensions or {}
        for key, value in values.items():
            if isinstance(value, dict):
                value = Config(value, extensions.get(key))
            elif isinstance(value, list):
                value = FrozenList(value)
            dict.__setitem__(self, key, value)
        object.__setattr__(self, "_extensions", extensions)

    def __getattr__(self, key: str) -> Any:
        if key in self:
            return self[key]
        extensions = self.__dict__.get("_extensions", {})
        if key not in extensions:
            raise AttributeError(f"the configuration has no key {key}")
        value = extensions[key]
        if isinstance(value, dict):
            return Config({}, value)
        return FrozenList(value) if isinstance(value, list) else value

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _refuse
    update = pop = popitem = clear = setdefault = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (to_plain(self), self._extensions)

    def __deepcopy__(self, memo: dict) -> Config:
        return self


def to_plain(value: Any) -> Any:
    """Copy a configuration into plain dicts and lists, for YAML, JSON or a checkpoint."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list) else value
