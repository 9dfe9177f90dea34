"""The Function App: registers the blueprint of each capability; nothing else."""

import gc

import azure.functions as func

# What is imported lives as long as the worker. So the collector stays out meanwhile, and never
# looks through it afterwards.
gc.disable()
try:
    import cancel_appointment
    import describe_api
    import list_bookings
finally:
    gc.freeze()
    gc.enable()

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(cancel_appointment.blueprint)
app.register_functions(list_bookings.blueprint)
app.register_functions(describe_api.blueprint)
