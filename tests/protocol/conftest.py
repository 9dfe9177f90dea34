"""Prints how many schedules were played."""

import pytest

SCHEDULES = pytest.StashKey[list[int]]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    played = config.stash.get(SCHEDULES, [])
    if played:
        terminalreporter.write_line(
            f"protocol: {sum(played):,} schedules played in {len(played)} enumerations"
        )
