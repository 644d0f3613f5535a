"""`uvicorn app:app`: the settings from the environment, the logging, and the app itself."""

from share import SettingsError, XAgentServerEnv, create_app
from share.logs import configure_logging

try:
    settings = XAgentServerEnv.load()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
except SettingsError as error:
    raise SystemExit(f"replay-share: {error}") from None
