"""What ``bench_cold_start`` starts: programs that answer one request and end.

Each stands alone, so that it costs what it imports and no more.

Each takes its settings from the environment, and from ASKED the user's token and the ids as JSON.
It prints one line of JSON when it has its answer.
"""
