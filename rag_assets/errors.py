"""One family of errors, each with the exit status and HTTP status it maps to.

A message is one sentence for the person who can act on it: the thing, the value found, the value
wanted and the next step.
"""

from typing import ClassVar


class RagError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class ConfigError(RagError):
    """The configuration or a command's arguments cannot be used; all mistakes are told."""

    exit_code = 2
    http_status = 400


class BadRequest(RagError):
    """A query, filter or parameter given by a caller cannot be used."""

    exit_code = 2
    http_status = 422


class GateRefused(RagError):
    """A candidate version did not pass its blocking checks; the live version is unchanged."""

    exit_code = 3
    http_status = 409


class Held(RagError):
    """A guard stopped the work: a mass delete or a spent budget; nothing was lost."""

    exit_code = 4
    http_status = 409


class SourceError(RagError):
    """A source could not be listed or read; nothing of it was deleted."""

    http_status = 502


class ModelNotFound(RagError):
    """No files of the embedding model could be found."""

    http_status = 503


class StorageError(RagError):
    """The storage directory cannot be read or written, or holds damaged data."""

    http_status = 503


class IndexNotReady(RagError):
    """There is no live index version to answer from."""

    http_status = 503


class NoSuchVersion(IndexNotReady):
    """The index version that was asked for is not kept."""

    exit_code = 2
    http_status = 404


class IndexMismatch(RagError):
    """An index version and the thing used with it do not belong together."""

    http_status = 409


class Busy(RagError):
    """Another process holds the lock that this work needs."""

    http_status = 409


class LlmError(RagError):
    """The language model could not be called or did not answer."""

    http_status = 502
