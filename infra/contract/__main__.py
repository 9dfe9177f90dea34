"""Write the published contract: ``python -m infra.contract``, which is ``make contract``.

Records real answers from the running service as docs/examples. Then makes from them and from the
models describe_api/openapi.json, infra/connector/apiDefinition.swagger.json and the golden record
of v1. Prints what changed.
"""

import sys

from infra.contract.files import ContractBroken, write_documents, write_recorded
from infra.contract.recording import record_all

ADVICE = "Make the change additive, or leave v1 as it is and begin v2 beside it."


def main() -> int:
    """Write everything."""
    for path in write_recorded(record_all()):
        print(f"recorded {path}")
    try:
        for path in write_documents():
            print(f"written  {path}")
    except ContractBroken as error:
        print(
            f"The documents stay as they were, because this is not v1 any more:\n{error}\n{ADVICE}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
