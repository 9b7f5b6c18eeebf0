"""Object stores: images out, photos in. What needs obstore imports it late: it is an extra."""

from fluxbatch.adapters.stores.delivery import StoreDestination
from fluxbatch.adapters.stores.objects import StoreIndex, StoreSource
from fluxbatch.adapters.stores.opening import open_bucket
from fluxbatch.adapters.stores.photos import PhotoCache
from fluxbatch.adapters.stores.probe import probe
from fluxbatch.adapters.stores.sink import StoreSink

__all__ = ["PhotoCache", "StoreDestination", "StoreIndex", "StoreSink", "StoreSource", "open_bucket", "probe"]
