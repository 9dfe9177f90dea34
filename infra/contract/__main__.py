"""Write the published contract: ``python -m infra.contract``, which is ``make contract``.

Records real answers from the running service. Then writes docs/examples, describe_api/recorded.py,
docs/openapi.json, infra/connector/apiDefinition.swagger.json and the golden record of v1. Prints
what changed.
"""

import subprocess
import sys

from infra.contract.files import ContractBroken, write_documents, write_recorded
from infra.contract.recording import record_all

ADVICE = "Make the change additive, or leave v1 as it is and begin v2 beside it."


def main() -> int:
    """Write everything.

    A second interpreter makes the documents, because it has to import what was just recorded.
    """
    if "documents" not in sys.argv[1:]:
        for path in write_recorded(record_all()):
            print(f"recorded {path}")
        return subprocess.run(
            [sys.executable, "-m", "infra.contract", "documents"], check=False
        ).returncode
    try:
        for path in write_documents():
            print(f"written  {path}")
    except ContractBroken as error:
        print(
            f"Nothing was written, because this is not v1 any more:\n{error}\n{ADVICE}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
