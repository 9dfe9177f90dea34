"""The Function App: registers the blueprint of each capability; nothing else."""

import gc

import azure.functions as func

# What is imported lives as long as the worker. So the garbage collector is off during the imports,
# and never looks through them afterwards.
gc.disable()
try:
    import cancel_appointment.triggers
    import describe_api.triggers
    import list_bookings.triggers
finally:
    gc.freeze()
    gc.enable()

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(cancel_appointment.triggers.blueprint)
app.register_functions(list_bookings.triggers.blueprint)
app.register_functions(describe_api.triggers.blueprint)
