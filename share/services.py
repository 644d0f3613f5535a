"""What all requests of one mounted server have in common."""

from __future__ import annotations

import asyncio

from storage.gallery import GalleryCRUD
from storage.gateway import Gateway
from storage.interactions import InteractionCRUD
from storage.links import LinkCRUD
from storage.models import Interaction
from storage.recordings import RecordingCRUD
from storage.shares import ShareCRUD
from storage.users import UserCRUD
from storage.workspace import record_directory, remove_records

from .access import Access
from .settings import XAgentServerEnv
from .uploads import Uploads


class Services:
    """The queries, the access and the uploads of one server."""

    def __init__(self, gateway: Gateway, settings: XAgentServerEnv, access: Access) -> None:
        self.gateway = gateway
        self.settings = settings
        self.access = access
        self.interactions = InteractionCRUD(gateway)
        self.recordings = RecordingCRUD(gateway)
        self.gallery = GalleryCRUD(gateway)
        self.shares = ShareCRUD(gateway)
        self.links = LinkCRUD(gateway)
        self.users = UserCRUD(gateway)
        self.uploads = Uploads(settings)

    async def delete(self, interaction: Interaction) -> None:
        """Remove a recording with its files, for good. Raises `OSError` where they can't be removed."""
        # The files first: where they can't be removed, the recording is still there, and this can be repeated.
        await asyncio.to_thread(remove_records, record_directory(self.settings.base_dir, interaction))
        await self.recordings.delete_recording(interaction.interaction_id)
