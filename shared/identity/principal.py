"""Principal: the one for whom a request is carried out, as far as its records need to know."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a system, proved.

    ``tenant_id`` is the directory, ``object_id`` who it is within the directory, ``client_id`` what
    acts for them. What identifies one kind never equals what identifies another.
    """

    tenant_id: str
    object_id: str
    client_id: str
