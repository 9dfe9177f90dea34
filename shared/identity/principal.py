"""Principal: the one for whom a request is carried out, as far as its records need to know."""

from typing import Protocol


class Principal(Protocol):
    """A person or a system, proved.

    What identifies one kind never equals what identifies another.
    """

    @property
    def tenant_id(self) -> str:
        """The directory."""
        ...

    @property
    def object_id(self) -> str:
        """Who, within the directory."""
        ...

    @property
    def client_id(self) -> str:
        """What acts for them."""
        ...
