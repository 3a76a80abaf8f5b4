"""Settings whose values lie in files: ``DATABASE_PASSWORD_FILE`` names the file of ``DATABASE_PASSWORD``."""

import ssl
from collections import ChainMap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from src.settings import WrongSettings


class FileSource(PydanticBaseSettingsSource):
    """Reads ``fields`` from the files that the variables of the sources ``naming`` name."""

    def __init__(
        self, settings_cls: type[BaseSettings], fields: Iterable[str], *naming: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        self._fields = fields
        self._variables = ChainMap(*(dict(each.env_vars) for each in naming if isinstance(each, EnvSettingsSource)))

    def __call__(self) -> dict[str, Any]:
        """The values of the fields that lie in files. Raises WrongSettings."""
        values, wrong = {}, []
        for field in self._fields:
            alias = self.settings_cls.model_fields[field].validation_alias
            names = [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [field]
            try:
                if variable := self._variable(names):
                    values[names[0]] = _content(variable, str(self._variables[variable.lower()]))
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise WrongSettings("\n".join(wrong))
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError(field_name)

    def _variable(self, names: list[str]) -> str | None:
        """The variable that names a file, if any. Raises ValueError for a value that is given twice."""
        known = [each.upper() for name in names for each in (name, f"{name}_FILE")]
        given = [name for name in known if self._variables.get(name.lower())]
        files = [name for name in given if name.endswith("_FILE")]
        if files and len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; one of them must go")
        return files[0] if files else None


def _content(variable: str, path: str) -> str:
    """What the file holds, without the newline that an editor leaves at its end. Raises ValueError."""
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{variable}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{variable}: {path}: it is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def certificates(path: str) -> str:
    """The path of a file that holds certificates. Raises ValueError."""
    if not path:
        raise ValueError("names no file of certificates")  # OpenSSL would go without
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        wrong = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{path}: {wrong}") from None
    return path
