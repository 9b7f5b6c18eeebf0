"""Object stores: images out, photos in. What needs obstore imports it late: it is an extra.

Here is what every run has at hand; the modules that speak to a store are loaded once there is one.
"""

from fluxbatch.adapters.stores.objects import StoreIndex, StoreSource
from fluxbatch.adapters.stores.photos import PhotoCache

__all__ = ["PhotoCache", "StoreIndex", "StoreSource"]
