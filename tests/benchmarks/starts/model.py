"""The reference with pydantic, as people use it.

``import pydantic`` alone loads next to nothing of it; the first model loads the rest.
"""

import pydantic


class Asked(pydantic.BaseModel):
    """A body."""

    businessId: str  # noqa: N815


import tests.benchmarks.starts.bare  # noqa: E402, F401 - imports the rest and answers
