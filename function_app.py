"""The Function App: registers the blueprint of each capability; nothing else."""

import azure.functions as func

from cancel_appointment import blueprint

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(blueprint)
