"""The Function App: registers the blueprint of each capability; nothing else."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import azure.functions as func


@contextmanager
def _nothing_is_garbage() -> Iterator[None]:
    """Keep the collector out while modules are imported.

    It never looks through them afterwards, either: they live as long as the worker.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


with _nothing_is_garbage():
    import cancel_appointment
    import describe_api
    import list_bookings

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(cancel_appointment.blueprint)
app.register_functions(list_bookings.blueprint)
app.register_functions(describe_api.blueprint)
