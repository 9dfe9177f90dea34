"""The Function App: registers the blueprint of each capability; nothing else."""

import azure.functions as func

import cancel_appointment
import describe_api
import list_bookings

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(cancel_appointment.blueprint)
app.register_functions(list_bookings.blueprint)
app.register_functions(describe_api.blueprint)
